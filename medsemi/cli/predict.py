"""`medsemi predict`: segment folders and files of DICOM, NIfTI, NRRD and MetaImage."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from medsemi.cli.arguments import place
from medsemi.prediction.codes import DISCLAIMER
from medsemi.prediction.options import DEFAULT_OUTPUTS, OUTPUTS, Options

if TYPE_CHECKING:
    # The commands of all programs together, as argparse types them.
    from argparse import _SubParsersAction as SubParsers

EXAMPLES = """\
examples:
  medsemi predict scans --model models/left_atrium --out results
  medsemi predict ct.nii.gz --model models/spleen --out results --device cpu

Run the same command again to go on after a stop: what is done stays done.
Many machines can share the work: --shard 3/8 takes the third of eight parts, see docs/cluster.
"""
_REVEALING = "the names in these results come from headers and may hold names of patients"


def add_parser(commands: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `medsemi`."""
    parser = commands.add_parser(
        "predict",
        help="Segment what fits a model in folders and files.",
        description="Segment all that fits a model in folders and files, and write a report.",
        epilog=f"{EXAMPLES}\n{DISCLAIMER}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=place,
        help="Folders, which are searched, or files.",
    )
    parser.add_argument(
        "--model", metavar="BUNDLE", type=place, required=True, help="Folder of the model bundle."
    )
    parser.add_argument(
        "--out", metavar="DIR", type=place, required=True, help="Folder for the results."
    )
    _add_what(parser.add_argument)
    _add_how(parser.add_argument)
    parser.set_defaults(run=run)


def _add_what(add: Callable[..., object]) -> None:
    """What is segmented and written."""
    usual = Options()
    add(
        "--series",
        default=usual.series,
        metavar="WHICH",
        help="Which series: auto (all that fit the model), all, a case as inspect shows it,"
        " CASE#VOLUME, a UID, UID#VOLUME, or part of a description; default auto.",
    )
    add(
        "--gaps",
        choices=("refuse", "fill"),
        default=usual.gaps,
        help="Refuse stacks with missing or uneven slices, or fill in a few; default refuse.",
    )
    add(
        "--tilt",
        choices=("resample", "refuse"),
        default=usual.tilt,
        help="Straighten tilted stacks for the network, or refuse them; default resample.",
    )
    add(
        "--outputs",
        type=outputs,
        default=usual.outputs,
        metavar="LIST",
        help=f"What to write, of {', '.join(OUTPUTS)}; default {','.join(DEFAULT_OUTPUTS)}.",
    )


def _add_how(add: Callable[..., object]) -> None:
    """How that is done."""
    usual = Options()
    add(
        "--device",
        type=device,
        default=usual.device,
        help="Where the network runs: auto, cpu, cuda or cuda:N; default auto.",
    )
    add(
        "--overlap",
        type=overlap,
        metavar="PART",
        help="How much of a window its neighbors see too, 0 to 0.75; default as the model says.",
    )
    add(
        "--workers",
        type=workers,
        default=usual.workers,
        metavar="N",
        help="Threads that read files, 1 to 16; default 2.",
    )
    add(
        "--overwrite",
        choices=("stale", "never", "all"),
        default=usual.overwrite,
        help="Redo cases whose input, model or options changed, none, or all; default stale.",
    )
    add(
        "--names",
        choices=("auto", "hash", "path", "header"),
        default=usual.names,
        help="Name results by a number made from the series, by path, or by header, which may"
        " reveal patients; default auto (DICOM: hash, others: path).",
    )
    add("--strict", action="store_true", help="Refuse every case that has a warning.")
    add(
        "--shard",
        type=shard,
        default=usual.shard,
        metavar="I/N",
        help="Take the I-th of N parts of the cases, I from 1 to N; other machines take the other"
        " parts into the same folder; default 1/1, all cases.",
    )


def outputs(text: str) -> tuple[str, ...]:
    """Parse `--outputs`; the result has the order of `OUTPUTS`.

    Raises:
        ArgumentTypeError: an output is not known, or none is named.
    """
    named = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(named - set(OUTPUTS))
    if unknown or not named:
        what = f"'{', '.join(unknown)}' is not known" if unknown else "nothing is named"
        raise argparse.ArgumentTypeError(f"{what}; name some of {', '.join(OUTPUTS)}")
    return tuple(name for name in OUTPUTS if name in named)


def device(text: str) -> str:
    """Parse `--device`.

    Raises:
        ArgumentTypeError: it is none of the known forms.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not auto, cpu, cuda or cuda:N")
    return text


def overlap(text: str) -> float:
    """Parse `--overlap`.

    Raises:
        ArgumentTypeError: it is no number from 0 to 0.75.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 0.75:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 0.75")
    return value


def workers(text: str) -> int:
    """Parse `--workers`.

    Raises:
        ArgumentTypeError: it is no whole number from 1 to 16.
    """
    if not text.isdecimal() or not 1 <= int(text) <= 16:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 16")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """Parse `--shard`: index from 1, and count.

    Raises:
        ArgumentTypeError: it is not I/N with I from 1 to N.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N with I from 1 to N, such as 3/8")
    return int(match[1]), int(match[2])


def options_of(given: argparse.Namespace) -> Options:
    """The options that were chosen on the command line."""
    return Options(
        series=given.series,
        gaps=given.gaps,
        tilt=given.tilt,
        outputs=given.outputs,
        device=given.device,
        overlap=given.overlap,
        workers=given.workers,
        overwrite=given.overwrite,
        names=given.names,
        strict=given.strict,
        shard=given.shard,
    )


def run(given: argparse.Namespace) -> int:
    """Run the command.

    Args:
        given: the parsed command line.

    Returns:
        The exit code, see `medsemi.prediction.run`.
    """
    from medsemi.cli.progress import make_console
    from medsemi.prediction.run import predict
    from medsemi.prediction.run_json import INTERRUPTED

    with make_console(given.out) as console:
        if given.names == "header":
            console.say("-", "note", f"With --names header {_REVEALING}.")
        code = predict(given.inputs, given.model, given.out, options_of(given), console)
    if code == INTERRUPTED:
        # A thread that is still in a decoder would hold up the end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
