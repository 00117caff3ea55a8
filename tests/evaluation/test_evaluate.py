"""Every case, network and class gets its row, and a bad one its sentence."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medsemi.errors import CheckpointError, ConfigError, DataError
from medsemi.evaluation.evaluate import evaluate_cases
from medsemi.evaluation.metrics import METRICS
from medsemi.evaluation.protocol import WindowInference
from medsemi.parts.components import largest_component

CLASSES = {0: "background", 1: "organ", 2: "vessel"}
INFERENCE = WindowInference((8, 8, 8))


@dataclass(frozen=True)
class FakeVolume:
    """A case in memory."""

    case_id: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    spacing: tuple[float, ...] = (1.0, 1.0, 2.0)


class Reader(nn.Module):
    """Finds a class where the image has its number; 0.5 stands for `blind`, which it never finds."""

    def __init__(self, blind: int = -1, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.dropout = nn.Dropout(1.0)
        self.blind = blind

    def forward(self, x: Tensor) -> Tensor:
        logits = [20 * (x == label) * (label != self.blind) * self.scale for label in CLASSES]
        return torch.cat(logits, dim=1) - self.dropout(torch.zeros_like(x[:, :1]))


def volume(case_id: str) -> FakeVolume:
    """A case whose image shows its labels."""
    label = np.zeros((12, 10, 9), dtype=np.uint8)
    label[2:6, 2:6, 2:6] = 1
    label[8:10, 3:5, 1:8] = 2
    image = label[None].astype(np.float32)
    image.flags.writeable = False
    return FakeVolume(case_id, image, label)


def rows(folder: Path) -> list[dict[str, str]]:
    """The per-case table."""
    with (folder / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_case_network_and_class_has_a_row(tmp_path: Path) -> None:
    networks = {"student": Reader(), "teacher": Reader(blind=2)}
    volumes = [volume("case_a"), volume("case_b")]
    summaries = evaluate_cases(networks, volumes, INFERENCE, CLASSES, tmp_path, "cpu")
    table = rows(tmp_path)
    keys = [(row["case_id"], row["network"], row["class"]) for row in table]
    assert keys == [
        (case, network, structure)
        for case in ("case_a", "case_b")
        for network in networks
        for structure in ("organ", "vessel")
    ]
    assert set(METRICS) < set(table[0])
    assert all(float(row["seconds"]) >= 0 for row in table)
    blind = [row for row in table if (row["network"], row["class"]) == ("teacher", "vessel")]
    assert [(row["dice"], row["missed"]) for row in blind] == [("0.0", "1")] * 2
    assert float(blind[0]["hd95_mm"]) == pytest.approx((12**2 + 10**2 + 18**2) ** 0.5)
    others = [row for row in table if row not in blind]
    assert {(row["dice"], row["hd95_mm"], row["missed"]) for row in others} == {("1.0", "0.0", "0")}
    assert summaries["teacher"].classes["vessel"].missed == 2
    assert summaries["teacher"].overall.metrics["dice"].mean == 0.5
    assert summaries["student"].overall.metrics["dice"].mean == 1.0


def test_summary_file_says_the_same_and_is_strict_json(tmp_path: Path) -> None:
    empty = FakeVolume(
        "empty", *(np.zeros(s, d) for s, d in (((1, 8, 8, 8), "f4"), ((8, 8, 8), "u1")))
    )
    summaries = evaluate_cases({"net": Reader()}, [empty], INFERENCE, CLASSES, tmp_path, "cpu")
    text = (tmp_path / "summary.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    organ = content["networks"]["net"]["classes"]["organ"]
    assert organ["metrics"]["dice"] == {"mean": 1.0, "sd": None, "cases": 1}
    assert organ["metrics"]["hd95_mm"] == {"mean": None, "sd": None, "cases": 0}
    assert organ["absent"] == summaries["net"].classes["organ"].absent == 1
    assert (content["cases"], content["classes"]["1"]) == (1, "organ")
    assert rows(tmp_path)[0]["hd95_mm"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "summary.json"]


def test_postprocess_is_applied_before_scoring(tmp_path: Path) -> None:
    case = volume("speck")
    image = case.image.copy()
    image[0, 11, 9, 8] = 1
    specked = FakeVolume("speck", image, case.label)
    run = {"networks": {"net": Reader()}, "volumes": [specked], "inference": INFERENCE}
    target = {"classes": CLASSES, "output_dir": tmp_path, "device": "cpu"}
    raw = evaluate_cases(**run, **target)["net"].classes["organ"]
    kept = evaluate_cases(**run, **target, postprocess=largest_component)["net"].classes["organ"]
    assert raw.metrics["dice"].mean < kept.metrics["dice"].mean == 1.0


def test_networks_are_scored_in_eval_mode_and_left_as_they_were(tmp_path: Path) -> None:
    network = Reader().train()
    network.dropout.eval()
    seen: list[bool] = []

    def inference(image: Tensor, net: nn.Module) -> Tensor:
        seen.append(any(module.training for module in net.modules()))
        return net(image).softmax(1)

    evaluate_cases({"net": network}, [volume("a")], inference, CLASSES, tmp_path, "cpu")
    assert seen == [False]
    assert (network.training, network.dropout.training) == (True, False)


def test_mode_is_restored_when_inference_fails(tmp_path: Path) -> None:
    network = Reader().train()

    def inference(image: Tensor, net: nn.Module) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_cases({"net": network}, [volume("a")], inference, CLASSES, tmp_path, "cpu")
    assert network.training
    assert list(tmp_path.iterdir()) == []


def test_autocast_is_on_only_when_asked_for(tmp_path: Path) -> None:
    kinds: list[torch.dtype] = []
    layer = nn.Conv3d(1, 3, 1)

    def inference(image: Tensor, net: nn.Module) -> Tensor:
        logits = net(image)
        kinds.append(logits.dtype)
        return logits.float().softmax(1)

    for dtype in (None, torch.bfloat16):
        evaluate_cases({"n": layer}, [volume("a")], inference, CLASSES, tmp_path, "cpu", dtype)
    assert kinds == [torch.float32, torch.bfloat16]


def test_a_terminal_sees_progress_and_a_log_file_does_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_cases({"net": Reader()}, [volume("a")], INFERENCE, CLASSES, tmp_path, "cpu")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    evaluate_cases({"net": Reader()}, [volume("a")], INFERENCE, CLASSES, tmp_path, "cpu")
    shown = capfd.readouterr()
    assert (shown.out, "evaluate" in shown.err) == ("", True)


def test_a_diverged_network_is_named(tmp_path: Path) -> None:
    networks = {"student": Reader(scale=float("nan"))}
    with pytest.raises(CheckpointError, match=r"student network .* not finite for case_a"):
        evaluate_cases(networks, [volume("case_a")], INFERENCE, CLASSES, tmp_path, "cpu")


def test_a_case_without_label_is_named(tmp_path: Path) -> None:
    case = FakeVolume("case_a", volume("case_a").image, None)
    with pytest.raises(DataError, match="case_a has no label"):
        evaluate_cases({"net": Reader()}, [case], INFERENCE, CLASSES, tmp_path, "cpu")


def test_a_label_on_another_grid_is_named(tmp_path: Path) -> None:
    case = FakeVolume("case_a", volume("case_a").image, np.zeros((3, 3, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"case_a: .* shape"):
        evaluate_cases({"net": Reader()}, [case], INFERENCE, CLASSES, tmp_path, "cpu")


def test_nothing_to_evaluate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no case to evaluate"):
        evaluate_cases({"net": Reader()}, [], INFERENCE, CLASSES, tmp_path, "cpu")


def test_extra_metrics_are_computed_where_they_are_asked_for(tmp_path: Path) -> None:
    networks = {"student": Reader(), "teacher": Reader(blind=2)}
    settings = (networks, [volume("a"), volume("b")], INFERENCE, CLASSES)
    evaluate_cases(*settings, tmp_path / "plain", "cpu")
    asked = ("centerline_dice", "canals")
    summaries = evaluate_cases(*settings, tmp_path / "more", "cpu", extra=asked)
    plain, more = (rows(tmp_path / name) for name in ("plain", "more"))
    for one, other in zip(plain, more, strict=True):
        seconds = one.pop("seconds")
        assert float(seconds) >= 0
        assert {key: other[key] for key in one} == one
        assert set(other) - set(one) > {"seconds", "centerline_dice", "canals", "canals_found"}
    blind = [row for row in more if (row["network"], row["class"]) == ("teacher", "vessel")]
    assert {(row["centerline_dice"], row["width_error_mm"]) for row in blind} == {("0.0", "")}
    assert summaries["teacher"].overall.metrics["centerline_dice"].mean == 0.5
    content = json.loads(
        (tmp_path / "more" / "summary.json").read_text(), parse_constant=pytest.fail
    )
    assert set(content["extra_metrics"]) == set(asked)
    pooled = content["extra_metrics"]["canals"]["networks"]["student"]["vessel"]
    assert pooled["canals"] == pooled["canals_found"]
    table = content["networks"]["student"]["classes"]["organ"]["metrics"]
    assert table["centerline_dice"] == {"mean": 1.0, "sd": 0.0, "cases": 2}
    old = json.loads((tmp_path / "plain" / "summary.json").read_text())
    assert list(old) == ["cases", "classes", "networks", "conventions"]
    assert set(old["networks"]["student"]["overall"]["metrics"]) == set(METRICS)


def test_every_cell_of_the_table_is_a_plain_number(tmp_path: Path) -> None:
    case = volume("a")
    spacing = tuple(np.array([1.0, 1.0, 2.0]))  # as an affine gives it
    asked = ("surface_dice", "volume_error", "centerline_dice", "canals")
    settings = ({"student": Reader()}, [replace(case, spacing=spacing)], INFERENCE, CLASSES)
    evaluate_cases(*settings, tmp_path, "cpu", extra=asked)
    for row in rows(tmp_path):
        assert row["volume_error_ml"] == "0.0"
        for column, cell in row.items():
            assert column in ("case_id", "network", "class") or not cell or float(cell) >= 0


def test_an_unknown_extra_metric_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cl_dice'; known are canals, centerline_dice"):
        evaluate_cases({}, [volume("a")], INFERENCE, CLASSES, tmp_path, "cpu", extra=["cl_dice"])


def test_a_network_of_other_classes_is_refused(tmp_path: Path) -> None:
    two = {0: "background", 1: "organ"}
    with pytest.raises(ConfigError, match="tells 3 classes and the manifest 2"):
        evaluate_cases({"net": Reader()}, [volume("a")], INFERENCE, two, tmp_path, "cpu")
    assert not (tmp_path / "cases.csv").exists()
