"""Where a comparison writes, looked at before anything is trained."""

from __future__ import annotations

from medsemi.atomic import make_writable
from medsemi.comparison.jobs import Plan


def check_output(plan: Plan) -> None:
    """Make the output folder of a comparison, or refuse it.

    Raises:
        OutputError: if no file can be written there.
    """
    make_writable(plan.output)
