"""Compare methods of training honestly: same data, network, student steps, and the uncertainty told.

python scripts/compare.py --bundle bundles/left_atrium_mri_bcp --dataset_dir DATA --manifest M.json \
    --output runs/comparison --methods bcp,cfcnet,fixmatch --seeds 0,1,2 --overlay small

Trains what is missing, the supervised twin included, scores it and writes `report.md` and
`report.html`. A comparison that was killed continues with the same command. Each finished training
leaves a small record; `--records` adds those of other machines, which are not trained again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from medsemi.errors import ConfigError, MedsemiError
from medsemi.termination import exit_when_terminated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if all of it is done, 1 if a training failed, 2 for wrong input."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        failures = run(given)
    except MedsemiError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command continues.", file=sys.stderr)
        return 130
    return 1 if failures else 0


def run(given: argparse.Namespace) -> list[str]:
    """Do what the command line asks for; returns what failed."""
    from medsemi.comparison.jobs import Plan, shard
    from medsemi.comparison.places import check_output, check_records
    from medsemi.comparison.report import to_markdown
    from medsemi.comparison.run import report, run_missing

    role = "test" if given.test else "validation"
    plan = Plan(
        given.bundle, given.dataset_dir, given.manifest, given.output,
        _names(given.methods), _seeds(given.seeds), tuple(given.overlay), role,
        given.reason, given.tracking_uri,
    )  # fmt: skip
    if not plan.manifest.cases(role):
        raise ConfigError(
            f"{given.manifest} lists no {role} case to score; take another manifest"
            + (", or --test with a --reason." if role == "validation" else ".")
        )
    minutes = _minutes(given.budget)
    arms, failures = shard(plan.arms, given.shard), list[str]()
    check_records(plan, given.records)
    check_output(plan)
    if not given.report:
        failures = run_missing(plan, arms, given.records)
    print(to_markdown(report(plan, minutes, given.records)))
    print(f"{given.output / 'report.html'}")
    return failures


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ConfigError(
            "--methods is empty; give names of `medsemi methods`, such as bcp,fixmatch."
        )
    return names


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError:
        raise ConfigError(f"--seeds is '{text}'; give whole numbers, such as 0,1,2.") from None


def _minutes(text: str) -> float | None:
    """Minutes of a budget; None for `steps` and for `minutes` without a number."""
    kind, _, number = text.partition("=")
    if text in ("steps", "minutes"):
        return None
    if kind != "minutes" or not number.replace(".", "", 1).isdecimal() or float(number) <= 0:
        raise ConfigError(f"--budget is '{text}'; give steps, minutes, or minutes=30.")
    return float(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="its streams and network are shared by all")
    add("--dataset_dir", type=Path, required=True, help="where paths of the manifest start")
    add("--manifest", type=Path, required=True, help="who is labeled, unlabeled, validation, test")
    add("--output", type=Path, required=True, help="for trainings, records and the report")
    add("--methods", required=True, help="names of `medsemi methods`, with commas")
    add("--seeds", default="0,1,2", help="of the trainings, with commas (0,1,2)")
    add(
        "--overlay",
        action="append",
        default=[],
        help="a configuration on top, such as small; as often as needed, in order",
    )
    add("--budget", default="steps", help="steps; or minutes=N: when methods are read off in the"
        " table of equal wall-clock, which is otherwise the time that all have reached")  # fmt: skip
    add("--shard", default="0/1", help="I/N: train every N-th arm, from I")
    add("--records", type=Path, action="append", default=[], help="folder of other records")
    add("--report", action="store_true", help="train nothing, write the report of what is known")
    add("--test", action="store_true", help="score the test cases; the look is recorded")
    add("--reason", default="", help="why the test cases are opened; needed with --test")
    add("--tracking_uri", default="", help="MLflow (default: mlflow.db in the output)")
    return parser


if __name__ == "__main__":
    exit_when_terminated()
    sys.exit(main())
