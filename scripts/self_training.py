"""Self-training in rounds: train, label the unlabeled cases, keep the stable labels, train again.

python scripts/self_training.py --bundle BUNDLE --dataset_dir DATA --manifest MANIFEST.json
    --output_dir runs/rounds --stages supervised --keep 0.5 1.0 --overlay BUNDLE/configs/small.yaml

Run the same command again to continue; another bundle, configuration or data is refused. Everything after `--` is given to the bundle, such as
`-- --seed 3 --learning_rate 0.02`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fire.parser import DefaultParseValue

from medsemi.bundle.lint import lint_configs
from medsemi.bundle.merged import MISSING, PLACES, SEPARATOR, lookup, merge, settings_digest
from medsemi.data.manifest import Manifest, load_manifest
from medsemi.data.rounds import patients_kept
from medsemi.errors import MedsemiError
from medsemi.termination import exit_when_terminated

# What a round is made of, which the command names itself.
_PLACES_OF_A_ROUND = {"bundle_root", "dataset_dir", "manifest", "output_dir"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all rounds are done, 2 when something is refused or fails."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        last = run(options)
    except MedsemiError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command continues.", file=sys.stderr)
        return 130
    print(f"The network of the last round is in {last}")
    return 0


def run(options: argparse.Namespace) -> Path:
    """Run what is missing of all rounds.

    Args:
        options: the parsed command line.

    Returns:
        The run folder of the last training.

    Raises:
        MedsemiError: if the input is refused or a stage fails.
    """
    manifest = _checked_manifest(options)
    configs = options.bundle / "configs"
    named = [configs / f"{name}.yaml" for name in ("common", *options.stages, "pseudo_label")]
    for path in (*named, *options.overlay):
        if not path.is_file():
            raise MedsemiError(f"{path} does not exist; check --bundle, --stages and --overlay.")
    overrides = _overrides(options.bundle_options)
    _refuse_other_stages(options)
    _refuse_to_run_out_of_unlabeled(options, manifest)
    workflows = [[named[0], stage, *options.overlay] for stage in named[1:]]
    # Loads torch and MLflow, which a mistyped command must not wait for.
    from medsemi.training.rounds import Rounds, run_rounds
    from medsemi.training.tracking import Tracker

    output = options.output_dir.resolve()
    place = f"sqlite:///{output.parent / 'mlflow.db'}"
    overrides.setdefault("tracking_uri", place)
    by_stage = _by_stage(options, overrides)
    rounds = Rounds(
        options.bundle.resolve(),
        options.stages,
        [path.resolve() for path in options.overlay],
        options.dataset_dir.resolve(),
        options.manifest.resolve(),
        output,
        options.keep,
        by_stage,
    )
    tracker = Tracker(
        output / "rounds",
        tracking_uri=overrides["tracking_uri"],
        experiment_name=overrides.get("experiment_name", options.bundle.resolve().name),
        run_name=f"{output.name}-rounds",
        stage="rounds",
        parameters={
            "keep": options.keep,
            "stages": options.stages,
            "bundle": options.bundle.resolve().name,
            "settings": settings_digest(workflows, PLACES)[:16],
            "data": _data_digest(manifest, options.dataset_dir)[:16],
            **{name: value for name, value in overrides.items() if name not in PLACES},
        },
        tags={"medsemi.manifest": manifest.name, "medsemi.manifest_digest": manifest.digest},
    )
    return run_rounds(rounds, tracker)


def _checked_manifest(options: argparse.Namespace) -> Manifest:
    if not all(0 < share <= 1 for share in options.keep):
        raise MedsemiError(f"--keep is {options.keep}; give shares above 0 and up to 1.")
    manifest = load_manifest(options.manifest)
    if not manifest.unlabeled:
        raise MedsemiError(
            f"{options.manifest} lists no unlabeled case; there is nothing to label."
        )
    return manifest


def _refuse_other_stages(options: argparse.Namespace) -> None:
    """Refuse at once what would fail after a training: its weights are looked for under its name."""
    for name in options.stages:
        files = [options.bundle / "configs" / f"{file}.yaml" for file in ("common", name)]
        tree = merge(files, {}).tree
        if lookup(tree, "train::trainer") is MISSING or tree.get("stage") != name:
            raise MedsemiError(
                f"--stages names {name}, which is no training with a folder of this name; take"
                " pretrain, train or supervised."
            )


def _refuse_to_run_out_of_unlabeled(options: argparse.Namespace, manifest: Manifest) -> None:
    """A round that keeps all labels leaves no case for a training that draws unlabeled windows."""
    patients = len({case.patient for case in manifest.unlabeled})
    if all(patients_kept(share, patients) < patients for share in options.keep):
        return
    for name in options.stages:
        files = [options.bundle / "configs" / f"{file}.yaml" for file in ("common", name)]
        if lookup(merge(files, {}).tree, "unlabeled_windows") is not MISSING:
            raise MedsemiError(
                f"--keep {' '.join(map(str, options.keep))} labels all {patients} unlabeled patients,"
                f" and {name} learns from unlabeled ones; give smaller shares, such as --keep 0.5, or"
                " --stages supervised."
            )


def _by_stage(
    options: argparse.Namespace, overrides: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """What each stage is given: the values whose key it has, checked before the first training.

    Raises:
        MedsemiError: no stage has the key, or a stage does not fit an overlay.
    """
    given, configs = dict[str, dict[str, str]](), options.bundle / "configs"
    for name in (*options.stages, "pseudo_label"):
        files = [configs / "common.yaml", configs / f"{name}.yaml", *options.overlay]
        tree = merge(files, {}).tree
        given[name] = {
            key: value
            for key, value in overrides.items()
            if lookup(tree, key.replace("#", SEPARATOR)) is not MISSING
        }
        # As the command line of a bundle reads them.
        values = {key: DefaultParseValue(value) for key, value in given[name].items()}
        for finding in lint_configs(files, values):
            raise MedsemiError(f"{name}: {finding}")
    for key in overrides:
        if not any(key in values for values in given.values()):
            raise MedsemiError(f"--{key}: no stage has this key; check its name.")
    return given


def _data_digest(manifest: Manifest, folder: Path) -> str:
    """Of names and sizes of what is trained on: other data is noticed, moved data is the same."""
    cases = (*manifest.labeled, *manifest.unlabeled)
    files = [path for case in cases for path in (case.image, case.label) if path is not None]
    found = [
        (str(path), (folder / path).stat().st_size) for path in files if (folder / path).is_file()
    ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _overrides(given: Sequence[str]) -> dict[str, str]:
    """`--a 1 --b=2` as a mapping."""
    # A value may hold the sign, too, such as the address of a database.
    parts = [part for word in given for part in word.split("=", 1 if word.startswith("--") else 0)]
    names, values = parts[::2], parts[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise MedsemiError(f"{' '.join(given)}: write pairs of --name and value after --.")
    found = {name[2:]: value for name, value in zip(names, values, strict=True)}
    for name in _PLACES_OF_A_ROUND & found.keys():
        raise MedsemiError(
            f"--{name} after -- would change what each round is made of; give it before --."
        )
    return found


def _parser() -> argparse.ArgumentParser:
    summary, usage = str(__doc__).split("\n", maxsplit=1)
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=usage, formatter_class=style)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", default=["supervised"], help="default: supervised")
    parser.add_argument("--overlay", type=Path, nargs="*", default=[])
    help_keep = "share of the unlabeled patients kept after each round; default: 0.5 1.0"
    parser.add_argument("--keep", type=float, nargs="+", default=[0.5, 1.0], help=help_keep)
    parser.add_argument("bundle_options", nargs="*", help="after --: values of the bundle")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    exit_when_terminated()
    sys.exit(main())
