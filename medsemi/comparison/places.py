"""Where a comparison writes, and whose records it takes, looked at before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from medsemi.atomic import make_writable
from medsemi.comparison.jobs import Plan
from medsemi.comparison.records import read_records
from medsemi.errors import ConfigError

logger = logging.getLogger(__name__)


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


def check_records(plan: Plan, folders: Sequence[Path]) -> None:
    """Log how many records each folder of another machine spares a training, or refuse it.

    Args:
        plan: the comparison.
        folders: as `--records` names them.

    Raises:
        ConfigError: if one is no folder, or holds no record.
        DataError: if a file there is no record.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--records {folder}: is no folder; check its name.")
        records = read_records([folder])
        if not records:
            raise ConfigError(
                f"--records {folder} holds no record; name the folder `records` in the output of a comparison."
            )
        ours = sum(record.belongs_to(plan) for record in records)
        logger.info("records read from %s: %d, of this comparison: %d", folder, len(records), ours)
