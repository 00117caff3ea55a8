"""Which commands a comparison runs, and which it does not run again."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue

from medsemi.bundle.bundle_root import root_mistake
from medsemi.bundle.merged import merge
from medsemi.comparison.jobs import Arm, Plan, missing_workflows, run_arm, shard
from medsemi.errors import ConfigError, MedsemiError


def test_the_twin_is_always_trained_and_never_twice(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    assert [arm.name for arm in plan.arms] == [
        "supervised-0", "bcp-0", "fixmatch-0", "supervised-1", "bcp-1", "fixmatch-1"
    ]  # fmt: skip
    twice = replace(plan, methods=("supervised", "bcp", "bcp"))
    assert [arm.method for arm in twice.arms] == ["supervised", "bcp"] * 2
    with pytest.raises(ConfigError, match="did you mean fixmatch"):
        _ = replace(plan, methods=("fixmath",)).arms


def test_only_a_method_with_a_pretraining_has_two_stages(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    assert Arm("bcp", 0).stages == ("bcp_pretrain", "bcp")
    assert Arm("fixmatch", 0).stages == ("fixmatch",)
    assert missing_workflows(plan, Arm("bcp", 0)) == ["method_pretrain", "method", "evaluate"]
    assert missing_workflows(plan, Arm("fixmatch", 0)) == ["method", "evaluate"]
    arms.write_arm(plan, Arm("bcp", 0))
    assert missing_workflows(plan, Arm("bcp", 0)) == []
    assert missing_workflows(replace(plan, role="test"), Arm("bcp", 0)) == ["evaluate"]


def test_a_command_names_all_that_an_arm_is(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path, overlays=("small",), role="test", reason="release, final # 2")
    line = plan.command(Arm("bcp", 1), "evaluate")
    options = dict(zip(line[6::2], line[7::2], strict=True))
    files = [Path(name).stem for name in eval(options.get("--config_file", line[5]))]  # noqa: S307
    assert files == ["common", "method", "evaluate", "method_evaluate", "small"]
    assert (options["--seed"], options["--method_name"], options["--role"]) == ("1", "bcp", "test")
    assert options["--results_dir"] == str(plan.evaluation(Arm("bcp", 1)))
    # As Fire, which reads the command line of MONAI, takes it: not as a tuple, nor as a comment.
    assert DefaultParseValue(options["--reason"]) == "release, final # 2"


def test_a_bundle_of_links_is_deployed_as_itself(arms, tmp_path: Path) -> None:
    """Its files lead to those of another bundle, which is not the one that was asked for."""
    mine = tmp_path / "mine"
    shutil.copytree(arms.BUNDLE, mine)
    for path in (mine / "configs").glob("*.yaml"):
        path.unlink()
        path.symlink_to(arms.BUNDLE.resolve() / "configs" / path.name)
    plan = arms.a_plan(tmp_path, bundle=mine)
    files = plan.files("method")
    tree = merge(files, {"bundle_root": str(mine)}).tree
    assert root_mistake(files[0], tree, ("initialize", "run", "finalize")) == ""


def test_the_digest_follows_settings_and_no_places(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    digest = plan.settings_digest
    assert replace(plan, output=tmp_path / "elsewhere", seeds=(7,)).settings_digest == digest
    assert replace(plan, overlays=("small",)).settings_digest != digest
    mine = tmp_path / "mine.yaml"
    mine.write_text("filters: 3\n")
    changed = replace(plan, overlays=(str(mine),))
    assert changed.settings_digest != digest
    # So a training with other settings is never taken for this one.
    assert changed.folder(Arm("bcp", 0)) != plan.folder(Arm("bcp", 0))
    assert changed.evaluation_digest != plan.evaluation_digest
    with pytest.raises(ConfigError, match=r"nothing\.yaml does not exist"):
        _ = replace(plan, overlays=("nothing",)).settings_digest


def test_shards_share_all_arms(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    parts = [shard(plan.arms, f"{index}/3") for index in range(3)]
    assert sorted(a.name for p in parts for a in p) == sorted(a.name for a in plan.arms)
    for wrong in ("3/3", "1", "a/b", "-1/2"):
        with pytest.raises(ConfigError, match="--shard"):
            shard(plan.arms, wrong)


def test_a_command_that_fails_is_told_with_its_last_line(
    arms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Plan, arm: Arm, workflow: str) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('the disk is full.')"]

    monkeypatch.setattr(Plan, "command", broken)
    with pytest.raises(MedsemiError, match=r"fixmatch-0: method failed: the disk is full\."):
        run_arm(arms.a_plan(tmp_path), Arm("fixmatch", 0))


def test_the_evaluation_has_a_digest_of_its_own(arms, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(arms.BUNDLE / "configs", bundle / "configs")
    path = bundle / "configs" / "evaluate.yaml"

    def plan_with(old: str, new: str) -> Plan:
        assert old in original
        path.write_text(original.replace(old, new))
        return arms.a_plan(tmp_path, bundle=bundle)

    original = path.read_text()
    before = plan_with("reason: null", "reason: null")
    digest, folder = before.evaluation_digest, before.evaluation(Arm("bcp", 0))
    for old, new in (("reason: null", "reason: me"), ("extra_metrics: []", "extra_metrics: [a]")):
        assert plan_with(old, new).evaluation_digest == digest
    assert plan_with("role=@role,", "").evaluation_digest == digest  # what is told to MLflow
    scored_otherwise = plan_with("component_filter: false", "component_filter: true")
    assert scored_otherwise.evaluation_digest != digest
    assert scored_otherwise.evaluation(Arm("bcp", 0)) != folder
    assert scored_otherwise.settings_digest == before.settings_digest
