"""What an earlier training left in a run folder is set aside, and nothing of it is deleted.

`earlier/` holds the latest of these trainings, `earlier/earlier/` the one before it, and so on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from medsemi.atomic import whole_files

logger = logging.getLogger(__name__)

EARLIER = "earlier"
GATHERED = ".earlier"
# The first two tell others that a training is finished, so they go before what they stand for.
_WEIGHTS = ("bundle", "model.pt", "*.pt")
_SCORES = ("best.txt", "validation", "overlays")
# What weights learned from and how, without which nobody could refuse to score them on that; and the run of
# MLflow, whose curves would mix with those of the next one.
_RECORDS = ("trained_cases.json", "config.json", "history.csv", "run.json", "upload.json")


def set_results_aside(folder: str | Path) -> None:
    """Set aside all that tells of a training, so that one from step 0 has results of its own alone.

    A training that left no weights, since it was killed before its first checkpoint, begins with the same
    steps again: its records stay, and so does its run in MLflow.

    Args:
        folder: run folder of a stage, without a checkpoint.
    """
    weights, scores, records = (
        [path for pattern in patterns for path in whole_files(folder, pattern)]
        for patterns in (_WEIGHTS, _SCORES, _RECORDS)
    )
    left_weights = weights or (Path(folder) / GATHERED).is_dir()
    found = [*weights, *scores, *(records if left_weights else ())]
    set_aside(folder, list(dict.fromkeys(found)))


def set_aside(folder: str | Path, paths: Sequence[Path]) -> None:
    """Move files and folders into `earlier/`; what lies there moves one level down.

    They are gathered under another name first, which the next call takes up after a kill: so those
    of two trainings never mix, and no name is taken twice.

    Args:
        folder: run folder of a stage.
        paths: that lie in it.
    """
    place, gathered = Path(folder) / EARLIER, Path(folder) / GATHERED
    if not paths and not gathered.is_dir():
        return
    gathered.mkdir(exist_ok=True)
    for path in (*paths, place):
        if path.exists():
            path.replace(gathered / path.name)
    gathered.replace(place)
    logger.info("What an earlier training left in %s is now in %s.", folder, place)
