"""Where the segmentations of a folder are written: none of another image is replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from medsemi.atomic import write_atomically
from medsemi.data.reading import volume_stem
from medsemi.errors import ConfigError

SOURCES = "sources.json"


def require_room(images: Sequence[str], results_dir: str | Path) -> None:
    """Make the folder of an inference, unless results of other images there would be replaced.

    The same images may be segmented again, since a run that was killed is repeated: `sources.json`
    tells which image a result is of, by the SHA-256 of its path, since a path may name a patient.

    Args:
        images: paths of what is segmented; without any nothing is made.
        results_dir: gets `<name>_seg.nii.gz` for each, as `SaveImaged` of `inference.yaml` names it.

    Raises:
        ConfigError: it holds a result of one of these names of another image, or of one that it does not tell.
        OutputError: it cannot be made or takes no files.
    """
    if not images:
        return
    folder = Path(results_dir)
    sources = {f"{volume_stem(Path(path).name)}_seg.nii.gz": _mark(path) for path in images}
    known = _known(folder / SOURCES)
    others = [
        name for name in sources if (folder / name).exists() and known.get(name) != sources[name]
    ]
    if others:
        raise ConfigError(
            f"{folder} holds results that this run would replace, such as {others[0]} ({len(others)} in"
            f" all), and {SOURCES} does not say that they are of these images; give another --results_dir, or"
            " move them away."
        )
    with write_atomically(folder / SOURCES) as temporary:
        temporary.write_text(json.dumps(known | sources, indent=1) + "\n", encoding="utf-8")


def _mark(image: str) -> str:
    return hashlib.sha256(str(Path(image).resolve()).encode()).hexdigest()


def _known(record: Path) -> dict[str, str]:
    """What the record says; a folder without a whole one does not tell."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
