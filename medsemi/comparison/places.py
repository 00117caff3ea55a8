"""Where a comparison writes, looked at before anything is trained."""

from __future__ import annotations

from medsemi.atomic import make_writable
from medsemi.comparison.jobs import Plan
from medsemi.comparison.records import read_records
from medsemi.errors import ConfigError


def check_output(plan: Plan) -> None:
    """Make the output folder of a comparison, or refuse it.

    Raises:
        OutputError: if no file can be written there.
        ConfigError: if it holds records of another comparison, whose place those of this one would take.
        DataError: if a file among its records is none.
    """
    make_writable(plan.output)
    folder = plan.output / "records"
    for record in read_records([folder]):
        if not record.fits(plan):
            raise ConfigError(
                f"{folder / record.name}.json is of another comparison (another manifest, bundle or overlay);"
                " give another --output, or what that comparison was given."
            )
