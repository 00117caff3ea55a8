"""`medsemi fingerprint` is quick to ask and clear in refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medsemi.cli.main import main


def test_its_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from medsemi.cli.main import main; main(['fingerprint', '--help']);"
        "print(sorted({'torch', 'monai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_a_manifest_that_is_absent_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("dataset_dir", "manifest", "output")
    options = [text for name in names for text in (f"--{name}", str(tmp_path / name))]
    assert main(["fingerprint", *options]) == 1
    assert "the manifest cannot be read" in capsys.readouterr().err
