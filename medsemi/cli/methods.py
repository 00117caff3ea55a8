"""`medsemi methods`: what there is to train with."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The commands of all programs together, as argparse types them.
    from argparse import _SubParsersAction as SubParsers

# Wider than the table: what is piped is not folded.
PIPED_WIDTH = 240


def add_parser(commands: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to a parser of several."""
    parser = commands.add_parser(
        "methods",
        help="List the methods of training.",
        description="List the methods of training, with the work of a step by that of a supervised one.",
    )
    parser.add_argument("--json", action="store_true", help="One JSON document instead of a table.")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the list; returns the exit code."""
    from medsemi.methods.registry import METHODS

    if given.json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(entry) for entry in METHODS], indent=1))
        return 0
    from rich.table import Table

    from medsemi.cli.screen import Screen

    table = Table(box=None)
    table.add_column("method", no_wrap=True)
    for heading in ("what it does", "cost", "windows", "paper"):
        table.add_column(heading)
    for entry in METHODS:
        dims = ", ".join(f"{axes}D" for axes in entry.dims)
        table.add_row(entry.name, entry.summary, f"{entry.cost:.1f}", dims, entry.paper)
    Screen(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
    return 0
