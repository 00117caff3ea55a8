"""Versions of what a result depends on."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from medsemi import __version__

_PACKAGES = ("torch", "monai", "pydicom", "highdicom", "numpy")


@cache
def software_versions() -> dict[str, str | None]:
    """Version of each package by its name, looked up without importing it; None if there is none."""
    return {"medsemi": __version__, **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
