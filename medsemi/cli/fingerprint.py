"""`medsemi fingerprint`: windows, network and preparation for a data set, from what it is like."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The commands of all programs together, as argparse types them.
    from argparse import _SubParsersAction as SubParsers

# Of a configuration that MONAI reads as YAML, in capitals, too.
_ENDINGS = (".yaml", ".yml")


def add_parser(commands: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to a parser of several."""
    parser = commands.add_parser(
        "fingerprint",
        help="Plan windows, network and preparation for a data set.",
        description="Measure the labeled and unlabeled cases of a manifest and write an overlay of a"
        " bundle: window, network and preparation. Cases for validation and test are not opened.",
    )
    parser.add_argument("--dataset_dir", type=Path, required=True, help="Folder of the images.")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file of the split.")
    parser.add_argument(
        "--output", type=Path, required=True, help="YAML file to write, .yaml or .yml."
    )
    parser.add_argument(
        "--preset", choices=("cpu", "gpu"), help="Machine to plan for (the one it runs on)."
    )
    parser.add_argument(
        "--modality",
        choices=("CT", "MR"),
        help="What the images are (by default what the manifest says, or their values).",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace the output file if it exists."
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Write the overlay; returns the exit code."""
    from medsemi.atomic import write_atomically
    from medsemi.data.fingerprint import take_fingerprint
    from medsemi.data.manifest import load_manifest
    from medsemi.data.plan_overlay import SATURATED, overlay_text
    from medsemi.data.planning import make_plan

    _refuse_output(given.output, given.overwrite)
    preset = given.preset or this_machine()
    manifest = load_manifest(given.manifest)
    fingerprint = take_fingerprint(manifest, given.dataset_dir, given.modality)
    plan = make_plan(fingerprint, preset)
    source = f"medsemi fingerprint --manifest {given.manifest.name} --preset {preset}"
    source += f" --modality {given.modality}" if given.modality else ""
    with write_atomically(given.output) as temporary:
        temporary.write_text(overlay_text(fingerprint, plan, source), encoding="utf-8")
    size = " x ".join(map(str, plan.window))
    stages = f"{len(plan.strides)} stages of {plan.filters[0]} to {plan.filters[-1]} channels"
    print(f"{len(fingerprint.cases)} cases, {fingerprint.modality} ({fingerprint.reason});")
    if fingerprint.is_saturated:
        print(SATURATED)
    print(f"window {size}, {stages},")
    print(
        f"voxels of {list(plan.spacing)} mm, for a {preset.upper()}; --preset plans for another machine."
    )
    print(f"The overlay is {given.output}; give it as the last --config_file.")
    return 0


def _refuse_output(output: Path, overwrite: bool) -> None:
    from medsemi.errors import ConfigError

    if output.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"{output}: a plan is YAML, which MONAI reads by its ending; let --output end in .yaml."
        )
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: exists already; choose another --output or add --overwrite.")


def this_machine() -> str:
    """The preset of the machine that this runs on."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"
