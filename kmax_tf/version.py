"""The version of the package, as pyproject.toml reads it, and those of others."""

from __future__ import annotations

__version__ = "0.1.0"


def installed_version(distribution: str) -> str | None:
    """Returns the installed version of a distribution, without importing it; None: not there."""
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
