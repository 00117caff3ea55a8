"""What a run left of its cases, to be compared with what another run left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medsemi.prediction.ledger import VOLATILE


def contents(out: Path) -> dict[str, Any]:
    """All that is visible, without what differs from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in (out / "cases").glob("[!.]*/*") if p.is_file()):
        name = str(path.relative_to(out))
        found[name] = path.read_bytes()
        if path.name == "case.json":
            record = json.loads(path.read_text())
            found[name] = {k: v for k, v in record.items() if k not in VOLATILE}
    return found
