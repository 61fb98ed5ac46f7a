"""Conservation laws of PyTorch models: find, test, follow and move them.

Only this subpackage imports PyTorch, inside of the functions that need it; models of transformers
are recognised by the names of their classes.
"""

from dmft.conservation.models.discovery import Discovery, discover
from dmft.conservation.models.forms import ModelLaw
from dmft.conservation.models.midpoint import flow_drift
from dmft.conservation.models.rebalancing import rebalance
from dmft.conservation.models.record import Record, load_record
from dmft.conservation.models.survey import ModelLaws
from dmft.conservation.models.tracking import Tracker, track
from dmft.conservation.models.walk import laws

__all__ = [
    "Discovery", "ModelLaw", "ModelLaws", "Record", "Tracker", "discover", "flow_drift", "laws",
    "load_record", "rebalance", "track",
]  # fmt: skip
