"""What a bundle builds, and every reason to refuse it."""

from __future__ import annotations

import json
import pickle
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from medsemi.evaluation.protocol import WindowInference
from medsemi.networks.vnet import VNet
from medsemi.prediction.bundle_network import BundleNetwork, load_network, read_plan
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.model import load_model

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_bundle.py"))))


def loaded(folder: Path) -> BundleNetwork:
    return load_network(load_model(folder))


def refused(folder: Path) -> str:
    with pytest.raises(RunStopped) as stopped:
        loaded(folder)
    assert stopped.value.finding.code == "E10"
    assert stopped.value.exit_code == 1
    assert str(folder) not in str(stopped.value)
    return str(stopped.value)


def test_network_and_windows_are_those_of_the_configuration(tmp_path: Path) -> None:
    bundle = loaded(SMALL.write_bundle(tmp_path / "b", 3))
    expected = SMALL.brightness_network(3).state_dict()
    assert not bundle.network.training
    assert bundle.network.state_dict().keys() == expected.keys()
    for key, value in bundle.network.state_dict().items():
        assert torch.equal(value, expected[key])
    assert (bundle.plan.size, bundle.plan.stride) == ((16, 16, 16), (8, 8, 8))
    assert (bundle.plan.weighting, bundle.plan.average) == ("gaussian", "probability")
    assert bundle.second is None
    # At least the output of one window of three classes, in float32.
    assert 4 * 3 * 16**3 <= bundle.activations <= 100 * 3 * 16**3


def test_later_files_overlay_earlier_ones(tmp_path: Path) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    (folder / "configs/common.yaml").write_text("edge: 99\nroot: $@bundle_root\n")
    inferer = {**SMALL.WINDOW, "window": ["@edge", 8, 8], "stride": [4, 4, 4]}
    nodes = {"edge": 12, "channels": 2, "network_def": SMALL.NETWORK, "inferer": inferer}
    (folder / "configs/inference.json").write_text(json.dumps(nodes))
    assert loaded(folder).plan.size == (12, 8, 8)


def test_a_network_is_built_while_others_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MONAI looks through the loaded modules; a reader of scans may import a decoder just then."""

    class Decoder(str):
        """The name of a module that imports another when it is looked at."""

        __slots__ = ()

        def startswith(self, *_: object) -> bool:
            monkeypatch.setitem(sys.modules, f"decoder_{len(sys.modules)}", ModuleType("decoder"))
            return False

    monkeypatch.setitem(sys.modules, Decoder("decoder"), ModuleType("decoder"))
    assert loaded(SMALL.write_bundle(tmp_path / "b")).plan.size == (16, 16, 16)


def test_only_what_is_needed_is_evaluated(tmp_path: Path) -> None:
    trap = {"dataset": "$1 / 0", "evaluator": {"_target_": "no.such.Evaluator"}}
    loaded(SMALL.write_bundle(tmp_path / "b", config=trap))


def test_network_stands_in_for_network_def(tmp_path: Path) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    nodes = {"channels": 2, "network": SMALL.NETWORK, "inferer": SMALL.WINDOW}
    (folder / "configs/inference.json").write_text(json.dumps(nodes))
    assert isinstance(loaded(folder).network, nn.Conv3d)


def test_weights_may_lie_in_a_container(tmp_path: Path) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    state = {"model": SMALL.brightness_network(2, shift=0.2).state_dict(), "epoch": 3}
    torch.save(state, folder / "models/model.pt")
    expected = state["model"]["bias"]
    assert torch.equal(loaded(folder).network.state_dict()["bias"], expected)


@pytest.mark.parametrize("deployed", ["student", "teacher"])
def test_the_second_network_is_the_other_one(tmp_path: Path, deployed: str) -> None:
    networks = {
        "student": SMALL.brightness_network(2, shift=0.1),
        "teacher": SMALL.brightness_network(2, shift=-0.1),
    }
    networks["model"] = networks[deployed]
    other = networks["teacher" if deployed == "student" else "student"]
    bundle = loaded(SMALL.write_bundle(tmp_path / "b", weights=networks))
    assert bundle.second is not None
    assert torch.equal(bundle.second.state_dict()["bias"], other.state_dict()["bias"])


@pytest.mark.parametrize(
    ("inferer", "size", "stride", "weighting", "average"),
    [
        (SlidingWindowInferer((8, 9, 10), 2, 0.5, "gaussian"), (8, 9, 10), (4, 4, 5), "gaussian", "logits"),
        (SlidingWindowInferer(8, overlap=0.25), (8, 8, 8), (6, 6, 6), "constant", "logits"),
        (SlidingWindowInferer((8, -1, 8), overlap=(0.5, 0.5, 0)), (8, 0, 8), (4, 1, 8), "constant", "logits"),
        (WindowInference((8, 8, 4), (3, 3, 1)), (8, 8, 4), (3, 3, 1), "constant", "probability"),
        (WindowInference((8, 8, 8), average="logits", weighting="gaussian"), (8, 8, 8), (4, 4, 4), "gaussian", "logits"),
    ],
)  # fmt: skip
def test_plans(inferer: object, size: Any, stride: Any, weighting: str, average: str) -> None:
    plan = read_plan(inferer)
    assert (plan.size, plan.stride, plan.weighting, plan.average) == (
        size,
        stride,
        weighting,
        average,
    )


@pytest.mark.parametrize(
    "inferer",
    [
        SimpleInferer(),
        SlidingWindowInferer((8, 8)),
        SlidingWindowInferer((8, 8, 8), with_coord=True),
    ],
)
def test_other_inferers_are_refused(inferer: object) -> None:
    with pytest.raises(RunStopped, match=r"E10 .*inferer"):
        read_plan(inferer)


class Runs:
    """Pickled, it would run code where it is unpickled carelessly."""

    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_weights_that_are_code_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    (folder / "models/model.pt").write_bytes(pickle.dumps({"weight": Runs()}, protocol=2))
    assert "models/model.pt cannot be read as weights" in refused(folder)
    torch.save({"weight": Runs()}, folder / "models/model.pt")
    assert "models/model.pt cannot be read as weights" in refused(folder)
    assert "executed" not in capsys.readouterr().out


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    path = folder / "models/model.pt"
    path.write_bytes(path.read_bytes()[:200])
    assert "models/model.pt cannot be read" in refused(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("bias"), "missing: bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "unknown: extra"),
        (lambda s: s.update(bias=torch.zeros(5)), "other shape: bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, text: str) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    state = dict(SMALL.brightness_network(2).state_dict())
    change(state)
    torch.save(state, folder / "models/model.pt")
    assert text in refused(folder)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"channels": 4}, "does not fit"),
        ({"inferer": None}, "no 'inferer'"),
        ({"network_def": {"_target_": "torch.nn.NoSuch"}}, "'network_def' cannot be built"),
        ({"network_def": "$1 / 0"}, "ZeroDivisionError"),
        ({"network_def": "$3"}, "no torch.nn.Module"),
        ({"channels": "@nowhere"}, "'network_def' cannot be built"),
        ({"inferer": {"_target_": "monai.inferers.SimpleInferer"}}, "slides no window"),
    ],
)
def test_configurations_that_build_nothing_useful_are_refused(
    tmp_path: Path, config: dict[str, Any], text: str
) -> None:
    assert text in refused(SMALL.write_bundle(tmp_path / "b", config=config))


def test_a_bundle_without_inference_is_refused(tmp_path: Path) -> None:
    folder = SMALL.write_bundle(tmp_path / "b")
    (folder / "configs/inference.json").rename(folder / "configs/train.json")
    assert "configs/inference" in refused(folder)
    (folder / "configs/inference.yaml").write_text("network_def: [")
    assert "cannot be read" in refused(folder)


def test_channels_that_do_not_match_the_labels_are_refused(tmp_path: Path) -> None:
    contract = {"labels": {"1": {"name": "a"}, "2": {"name": "b"}}}
    text = refused(SMALL.write_bundle(tmp_path / "b", contract=contract))
    assert "2 output channels and the metadata 2 labels; there must be 3" in text


def test_networks_of_several_input_channels_are_refused(tmp_path: Path) -> None:
    network = {**SMALL.NETWORK, "in_channels": 2}
    weights = {"model": nn.Conv3d(2, 2, 3, padding=1)}
    folder = SMALL.write_bundle(tmp_path / "b", config={"network_def": network}, weights=weights)
    assert "one channel" in refused(folder)


def test_scores_smaller_than_the_window_are_refused(tmp_path: Path) -> None:
    network = {**SMALL.NETWORK, "padding": 0}
    folder = SMALL.write_bundle(tmp_path / "b", config={"network_def": network})
    assert "no scores of the size of its windows" in refused(folder)


def test_a_bundle_without_modality_is_refused(tmp_path: Path) -> None:
    folder = SMALL.write_bundle(tmp_path / "b", contract={"modality": []})
    assert "modality" in refused(folder)


def test_label_interpolation_is_refused(tmp_path: Path) -> None:
    chain = [
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "Invertd", "keys": "pred"},
    ]
    postprocessing = {"_target_": "Compose", "transforms": chain}
    folder = SMALL.write_bundle(tmp_path / "b", config={"postprocessing": postprocessing})
    assert "resamples label maps" in refused(folder)


def test_the_bundle_of_the_repository_is_accepted(repository: Path, tmp_path: Path) -> None:
    """With weights as a training would leave them: the configuration decides, not our code."""
    source = repository / "bundles/left_atrium_mri_bcp"
    folder = tmp_path / "b"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    for path in (source / "configs").iterdir():
        (folder / "configs" / path.name).write_bytes(path.read_bytes())
    common = yaml.safe_load((source / "configs/common.yaml").read_text())
    common |= {"filters": 4, "window": [32, 32, 16], "stride": [16, 16, 8]}
    (folder / "configs/common.yaml").write_text(yaml.safe_dump(common))
    torch.save(VNet(filters=4).state_dict(), folder / "models/model.pt")
    bundle = loaded(folder)
    assert bundle.plan.size == (32, 32, 16)
    assert bundle.plan.stride == (16, 16, 8)


WITHOUT_TRAINING = """
import sys
import tomllib
from pathlib import Path

extra = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]["train"]
names = {requirement.partition(">")[0].replace("pytorch-ignite", "ignite") for requirement in extra}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from medsemi.prediction.bundle_network import load_network
from medsemi.prediction.model import load_model

print(load_network(load_model(sys.argv[1])).plan.size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in Python 3.11")
def test_prediction_needs_nothing_that_only_training_installs(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    shutil.copytree(repository / "bundles/left_atrium_mri_bcp", folder)
    (folder / "models").mkdir(exist_ok=True)
    torch.save(VNet().state_dict(), folder / "models/model.pt")
    command = [sys.executable, "-c", WITHOUT_TRAINING, str(folder)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(112, 112, 80)", done.stderr[-2000:]
