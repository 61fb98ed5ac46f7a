"""Parameter grids: points, executors, collection. What is finished is never computed again."""

from dmft.sweep.collection import Collection, load_collection
from dmft.sweep.driver import Summary, run
from dmft.sweep.figures import plot_phase_diagram
from dmft.sweep.folder import Folder, create, open_folder
from dmft.sweep.grid import Grid, load_grid
from dmft.sweep.worker import Outcome, Settings

__all__ = [
    "Collection",
    "Folder",
    "Grid",
    "Outcome",
    "Settings",
    "Summary",
    "create",
    "load_collection",
    "load_grid",
    "open_folder",
    "plot_phase_diagram",
    "run",
]
