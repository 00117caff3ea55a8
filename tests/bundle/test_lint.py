"""Each rule has a configuration that breaks it and a twin that passes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.bundle.lint import Finding, lint_bundle, lint_configs, main

RUN = "run: ['$@job']\n"
JOB = "job: {_target_: builtins.dict, rate: '@rate'}\nrate: 0.01\n"


def write(folder: Path, text: str, name: str = "train.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lint_text(folder: Path, text: str, **overrides: object) -> list[Finding]:
    return lint_configs([write(folder, text)], overrides)


# The name of a rule, what breaks it, its twin that passes, and words of the finding.
RULES = {
    "duplicate key": (JOB + "rate: 1.0\n" + RUN, JOB + RUN, "given twice"),
    "unknown control key": ("job: {_targt_: x}\n" + RUN, "job: {target: x}\n" + RUN, "_targt_"),
    "note": (
        "job: {_target_: builtins.dict, _note_: x}\n" + RUN,
        "job: {_target_: builtins.dict, _desc_: 'x # y @ z'}\n" + RUN,
        "_note_",
    ),
    "exponent": ("job: 1e-3\n" + RUN, "job: 1.0e-3\n" + RUN, "text to YAML"),
    "hash": ("job: '#ff0000'\n" + RUN, "job: $chr(35) + 'ff0000'\n" + RUN, "turns into"),
    "old separator": (
        "a: {b: [1, 2]}\njob: '@a#b#2'\n" + RUN,
        "a: {b: [1, 2]}\njob: ['@a#b#1', '@a::b::0']\n" + RUN,
        "does not exist",
    ),
    "blank": ("rate: 1\njob: ' @rate'\n" + RUN, "rate: 1\njob: '@rate'\n" + RUN, "blank"),
    "literal": ("rate: 1\njob: x/@rate/y\n" + RUN, "job: me@example\n" + RUN, "no reference"),
    "key with a dash": ("job: {a-b: 1}\n" + RUN, "job: {a_b: 1}\n" + RUN, "a-b"),
    "key of data": (
        "job: {a.b: 1}\n" + RUN,
        "job: {_target_: builtins.dict, tags: {a.b: 1}}\n" + RUN,
        "a.b",
    ),
    "boolean key": ("job: {off: 1}\n" + RUN, "job: {'off': 1}\n" + RUN, "on, off"),
    "boolean value": ("job: no\n" + RUN, "job: false\n" + RUN, "YAML"),
    "octal": ("job: 0123\n" + RUN, "job: 123\n" + RUN, "YAML"),
    "date": ("job: 2026-01-02\n" + RUN, "job: '2026-01-02'\n" + RUN, "date"),
    "reference": ("job: '@rat'\nrate: 1\nx: '@rate'\n", "job: '@rate'\nrate: 1\n" + RUN, "`rate`"),
    "relative reference": (
        "job: {a: 1, b: '@::c'}\n" + RUN,
        "job: {a: 1, b: '@::a', c: {d: '@::::a'}}\n" + RUN,
        "job::c",
    ),
    "expression": ("job: $1 + @x\n" + RUN, "x: 2\njob: $1 + @x\n" + RUN, "refers to `x`"),
    "syntax": ("job: $1 +\n" + RUN, "job: $1 + 1\n" + RUN, "not Python"),
    "matrix product": ("job: $[1] @ [2]\n" + RUN, "job: $[1] + [2]\n" + RUN, "not Python"),
    "macro": ("job: '%d items'\n" + RUN, "net: {a: 1}\njob: '%net'\n" + RUN, "%"),
    "macro of a macro": (
        "a: 1\nb: '%a'\njob: '%b'\n" + RUN,
        "a: {x: 1}\nb: '%a'\njob: $@b::x\n" + RUN,
        "copies a copy",
    ),
    "unused": ("max_epoch: 5\n" + JOB + RUN, "_desc_: x\nseed: 5\n" + JOB + RUN, "max_epoch"),
    "unused part": (
        "job: 1\nmore: {used: 1, left: 2}\nx: $@more::used\n" + RUN,
        "more: {used: 1}\njob: $@more::used\n" + RUN,
        "nothing uses",
    ),
    "nothing to run": ("rate: 1\nrun: '1'\n", "run: $1\n", "nothing to run"),
    "unknown target": (
        "job: {_target_: medsemi.errors.Nothing}\n" + RUN,
        "job: {_target_: medsemi.errors.MedsemiError}\n" + RUN,
        "cannot be imported",
    ),
    "unknown argument": (
        "job: {_target_: medsemi.bundle.reading.Finding, file: a, kee: b, sentence: c}\n" + RUN,
        "job: {_target_: medsemi.bundle.reading.Finding, file: a, key: b, sentence: c}\n" + RUN,
        "`key`",
    ),
    "missing argument": (
        "job: {_target_: medsemi.bundle.reading.Finding, file: a}\n" + RUN,
        "job: {_target_: medsemi.bundle.reading.Finding, file: a, _mode_: callable}\n" + RUN,
        "missing",
    ),
    "mode": (
        "job: {_target_: builtins.dict, _mode_: partial}\n" + RUN,
        "job: {_target_: builtins.dict, _mode_: callable}\n" + RUN,
        "_mode_",
    ),
    "disabled": (
        "job: {_target_: builtins.dict, _disabled_: 'yes'}\n" + RUN,
        "job: {_target_: builtins.dict, _disabled_: true}\n" + RUN,
        "does not disable",
    ),
    "two imports": (
        "imports: ['$import os, glob']\njob: 1\n" + RUN,
        "imports: [$import os, $import glob]\njob: 1\n" + RUN,
        "one entry",
    ),
    "dotted import": (
        "imports: [$import os.path]\njob: 1\n" + RUN,
        "imports: [$from os import path, $import os.path as p]\njob: 1\n" + RUN,
        "from os import path",
    ),
    "missing import": (
        "imports: [$from medsemi.bundle import gard]\njob: 1\n" + RUN,
        "imports: [$from medsemi.bundle import guard]\njob: 1\n" + RUN,
        "gard",
    ),
    "word import": (
        "x: a\njob: $__import__(@x)\n" + RUN,
        "x: a\njob: $len(@x)\n" + RUN,
        "letters",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str, tmp_path: Path) -> None:
    broken, sound, words = RULES[rule]
    assert any(words in str(finding) for finding in lint_text(tmp_path, broken))
    assert lint_text(tmp_path, sound) == []


def test_override_must_exist_and_names_the_nearest(tmp_path: Path) -> None:
    text = "seed: 1\n" + JOB + RUN
    (finding,) = lint_text(tmp_path, text, sede=3)
    assert finding.file == "command line"
    assert "`seed`" in finding.sentence
    assert lint_text(tmp_path, text, seed=3) == []
    assert lint_text(tmp_path, text, **{"job#rate": 3, "rate": 1}) == []
    assert "job::rate" in lint_text(tmp_path, text, **{"job#rat": 3})[0].sentence


@pytest.mark.parametrize(
    ("stood", "value", "sound"),
    [
        ("false", "true", True), ("1", "null", "$None"), ("1", "None", "$None"), ("1", "1O0", 100),
        ("1", "a#b", "$1"), ("1", True, 3), ("1.5", False, 3), ("1", 100.0, 100), ("1.0", True, 0.5),
        ("1", 2.5, 3), ("[1, 2]", [1, 2.5], [3, 4]), ("[1, 2]", (1, 2.0), [3, "$4"]),
        ("[1, 2]", 64, [64]), ("[1, 2]", "a", [3, 4]), ("[]", True, ["a"]), ("{a: 1}", 3, {"b": 2}),
        ("{a: 1}", [3], "$dict()"), ("[1]", {"a": 1}, "@job"), ("true", 1, False), ("text", 3, "a"),
        ("text", True, [1, 2]), ("$1", "true", True),
    ],
)  # fmt: skip
def test_override_value(stood: str, value: object, sound: object, tmp_path: Path) -> None:
    text = f"job: 1\nother: ['@rate', '@job']\nrate: {stood}\nrun: ['$@other']\n"
    assert lint_text(tmp_path, text, rate=value)[0].file == "command line"
    assert lint_text(tmp_path, text, rate=sound) == []


@pytest.mark.parametrize(
    ("stood", "value", "sound"),
    [
        ("false", "'true'", "true"), ("1", "'null'", "null"), ("1", "None", "null"), ("1", "1O0", "100"),
        ("1", "true", "3"), ("100", "100.0", "200"), ("[1, 2]", "64", "[64]"), ("{a: 1}", "3", "{b: 2}"),
        ("text", "3", "a"), ("text", "true", "none"), ("$1", "'true'", "true"), ("null", "'none'", "[1]"),
        ("1", "'~'", "$None"), ("[1]", "a", "null"), ("1", "2.5", "3"), ("[1, 2]", "[1, 2.5]", "[3]"),
    ],
)  # fmt: skip
def test_a_value_of_a_later_file_is_checked_as_an_override_is(
    stood: str, value: str, sound: str, tmp_path: Path
) -> None:
    text = f"job: 1\nother: ['@rate', '@job']\nrate: {stood}\nrun: ['$@other']\n"
    base = write(tmp_path, text, "base.yaml")
    overlay = write(tmp_path, f"rate: {value}\n", "overlay.yaml")
    (finding,) = lint_configs([base, overlay])
    assert (finding.file, finding.key) == (str(overlay), "rate")
    assert "--" not in finding.sentence
    assert lint_configs([base, write(tmp_path, f"rate: {sound}\n", "sound.yaml")]) == []


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("pretrain_steps", 2.5, "a whole number"),
        ("labeled_windows", 2.5, "a whole number"),
        ("seed", 2.0, "2"),
        ("window", [32, 32, 32.5], "whole numbers"),
        ("stride", [16, 16.0, 16], "whole numbers"),
        ("window::0", 32.5, "a whole number"),
    ],
)
def test_a_count_is_no_fraction(repository: Path, key: str, value: object, right: str) -> None:
    configs = repository / "bundles/left_atrium_mri_bcp/configs"
    files = [configs / f"{name}.yaml" for name in ("common", "pretrain")]
    (finding,) = lint_configs(files, {key: value})
    assert finding.sentence.startswith(f"`{value}` stands where the files hold ")
    assert finding.sentence.endswith(f"; give {right}.")


def test_a_measure_that_an_overlay_gives_as_a_whole_number_may_be_a_fraction(
    repository: Path, tmp_path: Path
) -> None:
    configs = repository / "bundles/cardiac_mri_bcp/configs"
    files = [configs / f"{name}.yaml" for name in ("common", "pretrain", "recipe")]
    mine = write(tmp_path, "learning_rate: 1\ndropout: 0\n", "mine.yaml")
    fractions = {"learning_rate": 0.5, "dropout": 0.25, "gradient_clip": 0.5}
    angles = {"rotation": [0, 0, 22.5], "rotation::1": 0.5}
    assert lint_configs([*files, mine], {**fractions, **angles}) == []


def test_a_measure_of_a_plan_or_of_several_gpus_may_be_a_fraction(
    repository: Path, tmp_path: Path
) -> None:
    configs = repository / "bundles/any_organ_bcp/configs"
    files = [configs / f"{name}.yaml" for name in ("common", "pretrain", "multi_gpu")]
    plan = write(tmp_path, "spacing: [1, 1, 3]\nclip: [-200, 300]\n", "plan.yaml")
    given = {"spacing": [0.8, 0.8, 2.5], "clip": [-200.5, 300.0], "patience_hours": 0.5}
    assert lint_configs([*files, plan], given) == []


def test_what_an_argument_of_a_component_counts_is_known_to_it_alone(tmp_path: Path) -> None:
    net = write(tmp_path, "network: {_target_: builtins.dict}\nrun: [$@network]\n", "net.yaml")
    overlay = write(tmp_path, "network::strength: 1\n", "overlay.yaml")
    assert lint_configs([net, overlay], {"network::strength": 0.5}) == []


NET = "network: {_target_: builtins.dict, filters: 16, more: {_target_: builtins.dict, rate: 1}}\n"


@pytest.mark.parametrize(
    ("overlay", "advice"),
    [
        ("network: {filters: 8}\n", "network::filters: 8"),
        ("network: {more: {rate: 2}}\n", "network::more::rate: 2"),
        ("network::more: {rate: 2}\n", "network::more::rate: 2"),
        ("part: {net: {filters: 8}}\n", "part::net::filters: 8"),
        ("part: {depth: 2, net: {filters: [8, 8]}}\n", "part::depth: 2"),
        ("network: {}\n", "_target_"),
    ],
)
def test_a_mapping_does_not_take_the_place_of_a_component(
    overlay: str, advice: str, tmp_path: Path
) -> None:
    part = "part: {depth: 1, net: {_target_: builtins.dict, filters: 16}}\n"
    base = write(tmp_path, NET + part + "run: ['$[@network, @part]']\n", "base.yaml")
    findings = lint_configs([base, write(tmp_path, overlay, "overlay.yaml")])
    assert any("replaces the whole of" in f.sentence and advice in f.sentence for f in findings)


@pytest.mark.parametrize(
    "overlay",
    [
        "network: {_target_: builtins.dict, filters: 8}\n",
        "network::filters: 8\n",
        "+network: {filters: 8}\n",
        "network: $dict(filters=8)\n",
        "network: null\n",
        "networks: {}\n",
        "networks: {first: {_target_: builtins.dict, filters: 8}}\n",
        "options: {b: 3}\n",
    ],
)
def test_a_component_may_be_replaced_by_another(overlay: str, tmp_path: Path) -> None:
    more = "networks: {second: {_target_: builtins.dict}}\noptions: {a: 1}\n"
    run = "run: ['$[@network, @networks, @options]']\n"
    base = write(tmp_path, NET + more + run, "base.yaml")
    assert lint_configs([base, write(tmp_path, overlay, "overlay.yaml")]) == []


def test_an_override_does_not_take_the_place_of_a_component(tmp_path: Path) -> None:
    text = NET + "run: [$@network]\n"
    (finding,) = lint_text(tmp_path, text, network={"filters": 8})
    assert finding.file == "command line"
    assert "network::filters" in finding.sentence


def test_numbers_with_commas_are_a_list_in_brackets(tmp_path: Path) -> None:
    """The command line makes a tuple of them, quoted or not."""
    text = "job: '@rate'\nrate: [1, 2]\n" + RUN
    (finding,) = lint_text(tmp_path, text, rate=(96, 96, 80))
    assert finding.sentence == "`96,96,80` was read as a tuple; write [96,96,80]."
    first, _ = lint_text(tmp_path, text, rate=[(1, 2), (3, 4)])
    assert (first.key, first.sentence[-12:]) == ("rate::0", "write [1,2].")


def test_none_is_the_name_of_a_choice_where_one_stood(tmp_path: Path) -> None:
    text = "job: '@rate'\nrate: published\n" + RUN
    assert lint_text(tmp_path, text, rate="none") == []
    assert lint_text(tmp_path, text, rate="null") != []


def test_files_are_merged_in_order(tmp_path: Path) -> None:
    base = write(tmp_path, JOB + RUN, "base.yaml")
    overlay = write(tmp_path, "rate: 2\njob::rate: 3\n+run: ['$@rate']\n", "overlay.yaml")
    wrong = write(tmp_path, "jab::rate: 3\n+runs: []\n+rate: [1]\n", "wrong.yaml")
    assert lint_configs([base, overlay]) == []
    keys = {finding.key for finding in lint_configs([base, wrong])}
    assert {"jab::rate", "+runs", "+rate"} <= keys


def test_same_merge_as_monai(tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    from medsemi.bundle.merged import merge

    files = [
        write(tmp_path, "a: {b: [1, {c: 2}], d: 3}\ne: [1]\nf: {g: 1}\n", "0.yaml"),
        write(tmp_path, "a#b#1#c: 5\n+e: [2]\n+f: {h: 2}\na::d: {z: 1}\n", "1.yaml"),
        write(tmp_path, "f: {i: 3}\n+a: {k: 1}\n", "2.yaml"),
    ]
    expected = ConfigParser.load_config_files([str(path) for path in files])
    merged = merge(files, {})
    assert merged.findings == []
    assert merged.tree == expected
    assert merged.file_of("a::b::1::c") == str(files[1])


@pytest.mark.parametrize("text", ["a: [", "", "- 1\n", "a: {[1]: 2}\n"])
def test_unreadable_file(text: str, tmp_path: Path) -> None:
    assert lint_text(tmp_path, text)[0].file.endswith("train.yaml")


def test_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in lint_configs([tmp_path / "none.yaml"])[0].sentence


def test_duplicate_in_json(tmp_path: Path) -> None:
    broken = write(tmp_path, '{"run": ["$1"], "run": ["$2"]}', "train.json")
    assert "given twice" in lint_configs([broken])[0].sentence


def test_metadata_can_be_referred_to(tmp_path: Path) -> None:
    write(tmp_path, '{"version": "1", "_odd_": "#"}', "metadata.json")
    assert lint_text(tmp_path, "run: [$@_meta_::version]\n") == []
    assert lint_text(tmp_path, "run: [$@_meta_::verson]\n") != []


names = st.from_regex(r"[a-z]{3,8}", fullmatch=True)


@settings(deadline=None, max_examples=50)
@given(keys=st.lists(names, min_size=1, unique=True), values=st.data())
def test_chains_are_used_to_their_end(
    keys: list[str], values: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = [f"k_{key}" for key in keys]
    tree: dict[str, object] = {a: f"@{b}" for a, b in pairwise(keys)}
    tree |= {keys[-1]: 1, "run": [f"$@{keys[0]}"]}
    folder = tmp_path_factory.mktemp("chain")
    assert lint_text(folder, yaml.safe_dump(tree)) == []
    cut = values.draw(st.sampled_from(keys))
    unused = {finding.key for finding in lint_text(folder, yaml.safe_dump({**tree, cut: 1}))}
    assert unused == set(keys[keys.index(cut) + 1 :])


def test_bundle_is_linted_by_combination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = tmp_path / "configs"
    write(configs, "rate: 1\nonly_b: 2\n", "common.yaml")
    write(configs, "run: [$@rate]\n", "a.yaml")
    write(configs, "# overlay of: common.yaml\nrun: [$@rate + @only_b]\n", "b.yaml")
    small = write(
        configs, "# overlay of: common.yaml, a.yaml; common.yaml, b.yaml\nrate: 3\n", "c.yaml"
    )
    assert lint_bundle(tmp_path) == []
    assert main([str(tmp_path)]) == 0
    small.write_text(small.read_text() + "rates: 3\n")
    assert [finding.key for finding in lint_bundle(tmp_path)] == ["rates"]
    assert main([str(tmp_path)]) == 1
    assert "`rate`" in capsys.readouterr().out
    assert lint_bundle(tmp_path / "none") != []


def test_every_bundle_of_the_project(repository: Path) -> None:
    bundles = [path.parent for path in sorted((repository / "bundles").glob("*/configs"))]
    assert bundles
    assert [str(finding) for bundle in bundles for finding in lint_bundle(bundle)] == []
