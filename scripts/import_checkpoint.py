"""Write a checkpoint of the published BCP code as the weights that a training of a bundle would leave.

    python scripts/import_checkpoint.py best_model.pth runs/published/train --bundle bundles/left_atrium_mri_bcp

`evaluate.yaml` then scores it with `--output_dir runs/published`. What the weights learned from is
written nowhere: no scored case can be refused as one that they have seen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsemi.bundle.guard import report_errors
from medsemi.bundle.merged import merge
from medsemi.bundle.overlays import COMMON, named_overlay
from medsemi.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import nn

    from medsemi.networks.published import LoadReport


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the weights were written."""
    options = _parser().parse_args(arguments)
    report = import_checkpoint(options)
    print(
        f"{options.output_dir}: {options.name}.pt and model.pt written; {len(report.loaded)} entries"
        f" loaded, {len(report.dropped)} of unused heads dropped, {len(report.renamed)} renamed."
    )
    return 0


def import_checkpoint(options: argparse.Namespace) -> LoadReport:
    """Load a checkpoint into the network of a bundle and write its weights.

    Args:
        options: the parsed command line.

    Returns:
        What was loaded, dropped and renamed.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another network, or the output folder
            holds something already.
        ConfigError: the bundle or an overlay cannot be used.
        OutputError: the weights cannot be written.
    """
    output: Path = options.output_dir
    if output.is_dir() and any(output.iterdir()):
        raise CheckpointError(
            f"{output} is not empty, and weights of a training may lie there: give a new folder."
        )
    tree = _configuration(options.bundle, options.overlay)
    # Loads torch and MONAI, which a mistyped command must not wait for.
    from medsemi.networks.published import load_published
    from medsemi.training.checkpoint import save_weights

    network = _built(tree)
    report = load_published(network, options.checkpoint)
    for name in (options.name, "model"):
        save_weights(output / f"{name}.pt", network)
    return report


def _configuration(bundle: Path, overlays: Sequence[str]) -> dict[str, Any]:
    files = [bundle / "configs" / COMMON, *(named_overlay(bundle, name) for name in overlays)]
    merged = merge(files, {})
    if merged.findings:
        raise ConfigError(str(merged.findings[0]))
    if "network_def" not in merged.tree:
        raise ConfigError(f"{files[0]} has no network_def; give the folder of a medsemi bundle.")
    return merged.tree


def _built(tree: dict[str, Any]) -> nn.Module:
    from monai.bundle import ConfigParser

    network: nn.Module = ConfigParser(tree).get_parsed_content("network_def")
    return network


def _parser() -> argparse.ArgumentParser:
    summary, usage = str(__doc__).split("\n", maxsplit=1)
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=usage, formatter_class=style)
    add = parser.add_argument
    add("checkpoint", type=Path, help="file of the published code, such as .pth")
    add("output_dir", type=Path, help="a new folder, such as runs/published/train")
    add("--bundle", type=Path, required=True, help="folder of the bundle that has the network")
    add(
        "--overlay",
        action="append",
        default=[],
        help="a configuration on top, such as small, for a network of another size; as often as"
        " needed, in order, and the same in the evaluation",
    )
    names = ("student", "teacher")
    add("--name", choices=names, default=names[0], help="which network it is (%(default)s)")
    return parser


if __name__ == "__main__":
    report_errors()
    sys.exit(main())
