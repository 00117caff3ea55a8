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
# The first two tell others that a training is finished, so they go before what they stand for.
_RESULTS = ("bundle", "model.pt", "*.pt", "best.txt", "validation", "overlays")


def set_results_aside(folder: str | Path) -> None:
    """Set aside all that tells of a training, so that one from step 0 has results of its own alone.

    Args:
        folder: run folder of a stage, without a checkpoint.
    """
    found = [path for pattern in _RESULTS for path in whole_files(folder, pattern)]
    set_aside(folder, list(dict.fromkeys(found)))


def set_aside(folder: str | Path, paths: Sequence[Path]) -> None:
    """Move files and folders into `earlier/`; what lies there moves one level down.

    They are gathered under another name first, which the next call takes up after a kill: so those
    of two trainings never mix, and no name is taken twice.

    Args:
        folder: run folder of a stage.
        paths: that lie in it.
    """
    place, gathered = Path(folder) / EARLIER, Path(folder) / f".{EARLIER}"
    if not paths and not gathered.is_dir():
        return
    gathered.mkdir(exist_ok=True)
    for path in (*paths, place):
        if path.exists():
            path.replace(gathered / path.name)
    gathered.replace(place)
    logger.info("What an earlier training left in %s is now in %s.", folder, place)
