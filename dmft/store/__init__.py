"""Results on disk: HDF5 files of a versioned schema, written atomically, and checkpoints."""

from dmft.store.checkpoint import load_checkpoint, save_checkpoint
from dmft.store.description import describe
from dmft.store.header import Header, read_header
from dmft.store.locking import is_locked, locked
from dmft.store.output import check_output, replacing
from dmft.store.results import load, save
from dmft.store.saving import saving

__all__ = [
    "Header",
    "check_output",
    "describe",
    "is_locked",
    "load",
    "load_checkpoint",
    "locked",
    "read_header",
    "replacing",
    "save",
    "save_checkpoint",
    "saving",
]
