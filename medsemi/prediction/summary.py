"""summary.csv: one line for each case folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsemi.atomic import write_atomically
from medsemi.prediction.ledger import read_record

SUMMARY = "summary.csv"
# What differs from run to run though the results are the same.
VOLATILE_COLUMNS = ("seconds",)
_COLUMNS = ("case_id", "status", "class", "modality", "slices", "spacing", "codes", "seconds")


def read_records(out: Path) -> list[tuple[Path, dict[str, Any]]]:
    """All case folders of an output folder with their records, sorted by case id."""
    folders = sorted(path for path in (out / "cases").glob("[!.]*") if path.is_dir())
    return [(folder, record) for folder in folders if (record := read_record(folder)) is not None]


def write_summary(out: Path) -> None:
    """Write `summary.csv` anew from all case folders: one line per case, one column per label."""
    rows = [_row(folder, record) for folder, record in read_records(out)]
    labels = list(dict.fromkeys(name for row in rows for name in row if name.endswith("_ml")))
    with (
        write_atomically(out / SUMMARY) as path,
        path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(
            file, [*_COLUMNS, *labels, "seg_frames"], restval="", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def _row(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    source = record.get("source", {})
    spacing = source.get("spacing_mm") or []
    return {
        "case_id": folder.name,
        "status": record.get("status", ""),
        "class": record.get("class", ""),
        "modality": source.get("modality", ""),
        "slices": source.get("slices", ""),
        "spacing": " x ".join(f"{mm:.4g}" for mm in spacing),
        "codes": " ".join(codes_of(record)),
        "seconds": f"{sum(record.get('times_s', {}).values()):.1f}",
        **{f"{each['name']}_ml": each["volume_ml"] for each in record.get("volumes", [])},
        "seg_frames": record.get("seg_frames", ""),
    }


def codes_of(record: Mapping[str, Any]) -> list[str]:
    """The codes of a case record, in order."""
    return [entry["code"] for entry in record.get("codes", [])]
