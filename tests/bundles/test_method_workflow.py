"""`method.yaml` of every bundle: equal student steps for all methods, and the recipe of the twin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from medsemi.batch import Batch, Sub
from medsemi.methods.registry import METHODS, MethodEntry

BUNDLES = sorted(
    p.parents[1] for p in (Path(__file__).parents[2] / "bundles").glob("*/*/method.yaml")
)


def parsed(bundle: Path, workflow: str, method: str) -> ConfigParser:
    parser = ConfigParser()
    files = [str(bundle / "configs" / f"{name}.yaml") for name in ("common", workflow)]
    parser.read_config(files)
    parser["method_name"] = method
    parser.parse()
    return parser


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_every_method_takes_the_same_student_steps(bundle: Path, entry: MethodEntry) -> None:
    parser = parsed(bundle, "method", entry.name)
    steps = parser.get_parsed_content("steps")
    if entry.pretraining:
        before = parsed(bundle, "method_pretrain", entry.name)
        steps += before.get_parsed_content("steps")
        assert before.get_parsed_content("stage") == f"{entry.name}_pretrain"
    assert steps == parser["pretrain_steps"] + parser["train_steps"]
    assert parser.get_parsed_content("stage") == entry.name
    assert (parser.get_parsed_content("unlabeled_windows") > 0) == entry.learns_unlabeled


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_recipe_is_that_of_the_twin(bundle: Path) -> None:
    method, twin = (
        yaml.safe_load((bundle / "configs" / f"{name}.yaml").read_text())
        for name in ("method", "supervised")
    )
    for key in ("optimizer", "schedule", "validate", "tracker"):
        assert method[key] == twin[key]
    assert method["train"]["trainer"] == twin["train"]["trainer"]
    assert method["train"]["handlers"] == twin["train"]["handlers"]
    unlike = {
        k for k, v in twin["train"]["dataset"].items() if method["train"]["dataset"].get(k) != v
    }
    assert unlike == {"unlabeled", "unlabeled_windows"}
    assert method["train"]["dataset"].keys() == twin["train"]["dataset"].keys()


def windows(shape: list[int]) -> Batch:
    """Four labeled and four unlabeled windows of noise."""
    generator = torch.Generator().manual_seed(3)
    label = (torch.rand(4, *shape, generator=generator) > 0.5).to(torch.uint8)
    labeled, unlabeled = (torch.rand(4, 1, *shape, generator=generator) for _ in range(2))
    return Batch(Sub(labeled, label, tuple("abcd")), Sub(unlabeled, None, tuple("efgh")))


@pytest.mark.parametrize("workflow", ["pretrain", "train"])
@pytest.mark.parametrize(
    "bundle", [path for path in BUNDLES if path.name.endswith("_bcp")], ids=lambda path: path.name
)
def test_copy_paste_is_the_same_by_its_own_workflow_and_as_any_method(
    bundle: Path, workflow: str, tmp_path: Path
) -> None:
    """A comparison runs the second one and calls it published: the heart had another loss there."""
    found = []
    for name in (workflow, {"pretrain": "method_pretrain", "train": "method"}[workflow]):
        parser = parsed(bundle, name, "bcp")
        parser["network_def"]["out_channels"] = 2
        parser["filters"], parser["dropout"], parser["seed"] = 2, 0.0, 5
        if "classes" in parser["method"]:
            parser["method"]["classes"] = 2
        for weights in ("initial_weights", "load"):
            parser[weights] = str(tmp_path / "model.pt")
        parser.parse()
        torch.manual_seed(0)
        torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
        method = parser.get_parsed_content("method").train()
        batch = windows([16] * len(parser["window"]))
        losses = []
        for step in range(2):
            draws = method.draw(batch, torch.Generator().manual_seed(step))
            losses.append(method(batch, draws, step))
            with torch.no_grad():
                for weight in method.student.parameters():
                    weight.mul_(0.9)
            method.after_step(step)
        found.append([(terms.terms, terms.weights) for terms in losses] + [method.state_dict()])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
