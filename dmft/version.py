"""The version of the package."""

from __future__ import annotations


def package_version() -> str:
    """The installed version; "unknown" in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dmft")
    except PackageNotFoundError:
        return "unknown"
