"""Records, manifests and run folders of comparisons, as small as they can be."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from medsemi.comparison.jobs import Arm, Plan
from medsemi.comparison.records import CurvePoint, Record
from medsemi.data.manifest import MANIFEST_TAG, save_manifest

BUNDLE = Path(__file__).parents[2] / "bundles" / "left_atrium_mri_bcp"
PATIENTS = [f"v{number}" for number in range(6)]
METRICS = ("dice", "jaccard", "hd95_mm", "assd_mm")


def a_manifest(folder: Path) -> Path:
    """Two labeled, two unlabeled, six validation and two test patients."""
    roles = {"labeled": ["l0", "l1"], "unlabeled": ["u0", "u1"], "validation": PATIENTS}
    document = {
        "name": "small",
        "classes": {"0": "background", "1": "organ"},
        "image": "images/{case}.nii.gz",
        "label": "labels/{case}.nii.gz",
        **roles,
        "test": ["t0", "t1"],
    }
    save_manifest(document, folder / "manifest.json")
    return folder / "manifest.json"


def a_plan(folder: Path, **changes: object) -> Plan:
    given: dict = {
        "bundle": BUNDLE,
        "dataset_dir": folder / "data",
        "manifest_path": a_manifest(folder),
        "output": folder / "out",
        "methods": ("bcp", "fixmatch"),
        "seeds": (0, 1),
    }
    return Plan(**{**given, **changes})


def scores(dice: Mapping[str, float], structures: tuple[str, ...] = ("organ",)) -> dict:
    """Case -> class -> metrics, all of them from one number."""
    return {
        case: {
            name: {
                "dice": v,
                "jaccard": v / (2 - v),
                "hd95_mm": 10 * (1 - v),
                "assd_mm": 1 - v,
                "missed": float(v == 0),
            }
            for name in structures
        }
        for case, v in dice.items()
    }


def a_record(plan: Plan, method: str, seed: int, dice: float, **changes: object) -> Record:
    """All patients alike but for a fixed spread; three validations, a second per ten steps."""
    by_case = {case: dice + 0.01 * number for number, case in enumerate(PATIENTS)}
    given: dict = {
        "method": method,
        "seed": seed,
        "steps": 30,
        "seconds": 3.0,
        "memory_mib": 100.0,
        "deployed": "student",
        "scores": {"validation": {"student": scores(by_case)}},
        "curve": tuple(CurvePoint(10 * i, float(i), dice * i / 3) for i in (1, 2, 3)),
        "date": "2026-01-02T03:04:05+00:00",
        "machine": "x86_64 CPU, 1 threads",
        "revision": "0123456789ab",
        "manifest_digest": plan.manifest.digest,
        "settings_digest": plan.settings_digest,
        "evaluation_digest": plan.evaluation_digest,
    }
    return Record(**{**given, **changes})


def write_stage(folder: Path, steps: int, name: str = "student", digest: str = "") -> None:
    """A training as its folder tells it: a second per step, one validation at its end."""
    folder.mkdir(parents=True)
    rows = [(step, "loss", 1.0, 100.0 + step) for step in range(1, steps + 1)]
    rows += [(steps, f"val/dice_{name}", 0.5, 100.5 + steps), (steps, "memory_mib", 77.0, 101.0)]
    with (folder / "history.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", "name", "value", "unix_seconds"), *rows])
    tags = {"medsemi.device": "a GPU", "medsemi.revision": "abc", MANIFEST_TAG: digest}
    (folder / "run.json").write_text(json.dumps({"tags": tags}))


def write_evaluation(
    folder: Path, deployed: str, dice: Mapping[str, Mapping[str, float]], digest: str = ""
) -> None:
    """An evaluation as its folder tells it."""
    (folder / "extremes").mkdir(parents=True)
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case_id", "network", "class", *METRICS, "missed"))
        for network, cases in dice.items():
            for case, value in cases.items():
                writer.writerow((case, network, "organ", value, value, "", 1.0, int(value == 0)))
    for which in ("best", "median", "worst"):
        (folder / "extremes" / f"{which}_v0.png").write_bytes(b"\x89PNG" + which.encode())
    tags = {"medsemi.deployed": deployed, MANIFEST_TAG: digest}
    (folder / "run.json").write_text(json.dumps({"tags": tags}))
    (folder / "summary.json").write_text("{}")


def write_arm(plan: Plan, arm: Arm) -> None:
    """All folders that a finished arm leaves."""
    for stage in arm.stages:
        write_stage(plan.folder(arm) / stage, 10, digest=plan.manifest.digest)
        (plan.folder(arm) / stage / "model.pt").touch()
    (plan.folder(arm) / arm.method / "bundle").mkdir()
    dice = {case: 0.5 + 0.05 * number for number, case in enumerate(PATIENTS)}
    both = {"student": dice, "teacher": dice}
    write_evaluation(plan.evaluation(arm), "student", both, plan.manifest.digest)
