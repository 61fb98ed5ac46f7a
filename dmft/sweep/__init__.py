"""Parameter grids: points, executors, collection. What is finished is never computed again."""

from dmft.sweep.driver import Summary, run
from dmft.sweep.folder import Folder, create, open_folder
from dmft.sweep.grid import Grid, load_grid
from dmft.sweep.worker import Outcome, Settings

__all__ = [
    "Folder",
    "Grid",
    "Outcome",
    "Settings",
    "Summary",
    "create",
    "load_grid",
    "open_folder",
    "run",
]
