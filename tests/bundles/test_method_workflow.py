"""`method.yaml` of every bundle: equal student steps for all methods, and the recipe of the twin."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

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
