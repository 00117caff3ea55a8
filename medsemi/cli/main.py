"""The command `medsemi`: parses, calls, prints.

A command registers itself with `add_parser`; what is slow to import is imported when it runs.
"""

from __future__ import annotations

import argparse
import errno
import io
import sys
from collections.abc import Sequence
from contextlib import suppress

from medsemi import __version__
from medsemi.cli.streams import silence
from medsemi.errors import MedsemiError
from medsemi.prediction.codes import DISCLAIMER, RunStopped

UNWRITABLE, INTERRUPTED = 4, 130
# What a disk or its rights are to blame for; any other OSError is a mistake of the program.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EFBIG)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    from medsemi.cli import fingerprint, inspect, methods, predict

    parser = argparse.ArgumentParser(
        prog="medsemi",
        description="Segment folders of DICOM and NIfTI images; list the methods of training.",
        epilog=DISCLAIMER,
    )
    parser.add_argument(
        "--version", action="version", version=f"medsemi {__version__}\n{DISCLAIMER}"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    inspect.add_parser(commands)
    predict.add_parser(commands)
    methods.add_parser(commands)
    fingerprint.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line; None takes those of the process.

    Returns:
        The exit code: 0 all well, or the reader of a pipe has seen enough; 1 usage or model error,
        2 part of the cases failed, 3 all did, 4 the output folder is in use, or there or on standard
        output nothing can be written, 130 interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name may have signs that a terminal lacks
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # at the end of the process an error would be told by Python
    except BrokenPipeError:
        silence(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        silence(sys.stdout)
        place, reason = error.filename or "the output", error.strerror or error
        _tell(f"{place}: {reason}; make room, or choose another place.")
        return UNWRITABLE
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        given = build_parser().parse_args(arguments)
    except SystemExit as stop:
        # argparse leaves with 2 on a usage error, which here means something else.
        return 1 if stop.code else 0
    try:
        return int(given.run(given))
    except RunStopped as stop:
        _tell(stop.finding)
        return stop.exit_code
    except MedsemiError as error:
        _tell(error)
        return 1
    except KeyboardInterrupt:
        _tell("interrupted")
        return INTERRUPTED


def _tell(message: object) -> None:
    # The exit code counts, whether or not somebody reads this.
    with suppress(OSError):
        print(f"medsemi: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
