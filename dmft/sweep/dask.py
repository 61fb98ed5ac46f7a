"""Sweeps on a Dask cluster, one that is running or one of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager

from dmft.errors import InputError

_CONNECT_SECONDS = 30


@contextmanager
def dask_executor(address: str | None, jobs: int) -> Iterator[Executor]:
    """An executor whose calls go to Dask; a worker that is lost has its calls done elsewhere.

    Parameters
    ----------
    address : of a scheduler, "tcp://host:8786", whose workers see the folder of the sweep; None
        starts a cluster on this machine.
    jobs : worker processes of that cluster, with one thread each.

    Raises
    ------
    InputError : distributed is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("needs Dask: pip install 'dmft[dask]'", "--executor dask") from None
    with ExitStack() as stack:
        if address is None:
            cluster = stack.enter_context(
                LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
            )
            client = stack.enter_context(Client(cluster))
        else:
            try:
                client = stack.enter_context(Client(address, timeout=_CONNECT_SECONDS))
            except (OSError, TimeoutError, ValueError) as error:
                raise InputError(f"no Dask scheduler answers ({error})", address) from None
        # Every call is one of its own, whatever its arguments.
        yield client.get_executor(pure=False)
