"""`medsemi fingerprint` is quick to ask and clear in refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medsemi.cli.main import main
from medsemi.data.phantoms import make_phantoms


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
    places = ("dataset_dir", "data"), ("manifest", "manifest"), ("output", "plan.YML")
    options = [text for name, file in places for text in (f"--{name}", str(tmp_path / file))]
    assert main(["fingerprint", *options]) == 1
    assert "the manifest cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plan.txt", "plan", "plan.json"])
def test_a_plan_that_no_bundle_would_read_is_refused_at_once(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the manifest is opened; a configuration that ends in .json is read as JSON."""
    line = ["--dataset_dir", str(tmp_path), "--manifest", str(tmp_path / "absent.json")]
    assert main(["fingerprint", *line, "--output", str(tmp_path / name)]) == 1
    assert f"{name}: a plan is YAML" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("cuda", "preset"), [(False, "cpu"), (True, "gpu")])
def test_it_plans_for_the_machine_it_runs_on(
    cuda: bool,
    preset: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_phantoms(tmp_path, count=4, shape=(24, 24, 24), labeled=2, validation=1, test=0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    plan = tmp_path / "plan.yaml"
    line = ["--dataset_dir", str(tmp_path), "--manifest", str(tmp_path / "manifest.json")]
    assert main(["fingerprint", *line, "--output", str(plan)]) == 0
    assert f"--preset {preset}" in plan.read_text()
    assert f"for a {preset.upper()}" in capsys.readouterr().out
    again = ["--output", str(plan), "--preset", "gpu", "--overwrite"]
    assert main(["fingerprint", *line, *again]) == 0
    assert "--preset gpu" in plan.read_text()
