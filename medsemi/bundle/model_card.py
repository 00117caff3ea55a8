"""The README of a deployed bundle: which network this is, what it was trained on, how it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsemi.data.manifest import Manifest

_TEMPLATE = """# {name}: a trained network

{intended_use}

| | |
| --- | --- |
{rows}

## Use

From this folder:

```bash
# DICOM and NIfTI, prepared as in training, with a report; tells which scans are unlike those of the training
medsemi predict FOLDER --model . --out RESULTS
# the same network by MONAI alone, for a folder of NIfTI; also with a protocol that predict does not know
python -m monai.bundle run --config_file "['configs/common.yaml','configs/inference.yaml']" \\
  --meta_file configs/metadata.json --dataset_dir FOLDER
```

The network is `models/model.pt`; `student.pt` and `teacher.pt` lie beside it where the training has them.
`configs/metadata.json` holds the codes of the labels and the ranges of the training images.
"""


def model_card(metadata: Mapping[str, Any], stage: Path, manifest: Manifest) -> str:
    """A table of the training and the commands of a prediction, in Markdown.

    Args:
        metadata: of the deployed bundle, with its key `medsemi`.
        stage: run folder of the training; its `run.json`, where there is one, names method, steps and seed.
        manifest: of the training; its cases are counted, and neither they nor their folder are named.
    """
    known = metadata["medsemi"]
    rows = {
        "bundle": f"`{known['name']}`",
        "training": _training(stage / "run.json"),
        "cases": f"{len(manifest.labeled)} labeled, {len(manifest.unlabeled)} unlabeled",
        "labels": ", ".join(f"{number} {name}" for number, name in manifest.classes.items()),
        "images": metadata.get("image_classes"),
        "voxels": _voxels(known.get("spacing")),
    }
    return _TEMPLATE.format(
        name=metadata["name"],
        intended_use=metadata["intended_use"],
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items() if value),
    )


def _training(record: Path) -> str | None:
    if not record.is_file():
        return None
    parameters = json.loads(record.read_text(encoding="utf-8"))["parameters"]
    # A training of one's own may record other settings; its README is no reason to lose its bundle.
    told = {"method `{}`": "method", "{} steps": "steps", "seed {}": "seed"}
    return ", ".join(
        text.format(parameters[key]) for text, key in told.items() if key in parameters
    )


def _voxels(spacing: list[float] | None) -> str:
    if spacing is None:
        return "as they are; the network was trained on the spacings of `training_ranges` in `configs/metadata.json`"
    return f"resampled to {' x '.join(f'{length:g}' for length in spacing)} mm"
