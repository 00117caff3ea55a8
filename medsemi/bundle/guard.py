"""Stops a bundle before it starts: placeholder until the linter is attached."""

from __future__ import annotations


def check_run() -> None:
    """Check the run."""
