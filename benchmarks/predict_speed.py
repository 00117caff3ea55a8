"""Time and memory of `medsemi predict` by stage, beside MONAI's workflow and others' export.

Usage: python benchmarks/predict_speed.py [--small] [--device cuda] [--nnunet PYTHON]
    [--totalsegmentator PYTHON]

Volumes: a synthetic CT of 512 × 512 × 300 with 2 and with 20 classes on a U-Net of few channels, and a
volume like those of the left atrium on the V-Net of the literature. Each way runs in a process of its
own with one thread, so that peaks of memory are its own. PYTHON is the interpreter of an environment
in which nnU-Net or TotalSegmentator is installed. On a GPU, both ways run on it in half precision, a
network of four times the channels is measured as well, and the exports of others, which run on the
CPU, are not.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from predict_arms import Scene, make_scores, make_volume

ARMS = Path(__file__).with_name("predict_arms.py")
CT = Scene("ct2", (512, 512, 300), (0.8, 0.8, 1.0), 2.0, 2, (96, 96, 96), 0.25, "unet")
SCENES = (
    CT,
    replace(CT, name="ct20", classes=20),
    Scene("la", (176, 144, 88), (0.625, 0.625, 0.625), None, 2, (112, 112, 80), 0.5, "vnet"),
)
STAGES = ("read", "to grid", "network", "windows", "back", "write")
WIDE = tuple(replace(scene, name=f"{scene.name}wide", network="unet32") for scene in SCENES[:2])
# Goal of total / network on a device.
GOAL_TIME = {"cpu": 1.3, "cuda": 1.15}
GOAL_MEMORY = 1.2

Result = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all ways one after the other and write the tables.

    Args:
        arguments: of the command line; None takes those of the process.
    """
    given = parsed(arguments)
    gpu = given.device != "cpu"
    scenes = [replace(scene, device=given.device) for scene in (*SCENES, *(WIDE if gpu else ()))]
    scenes = [smaller(scene) for scene in scenes] if given.small else scenes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        results: dict[tuple[str, str], Result] = {}
        for scene in scenes:
            make_volume(scene, folder / f"{scene.name}.nii.gz")
            for arm in ("medsemi", "monai"):
                results[scene.name, arm] = run(arm, scene, folder, sys.executable, given.limit)
        others = {"medsemi": sys.executable, "nnunet": given.nnunet}
        others["totalsegmentator"] = given.totalsegmentator
        for scene in () if gpu else scenes[:2]:
            make_scores(scene, folder / f"{scene.name}.scores.npy")
            for name, python in others.items():
                arm = f"export {name}"
                results[scene.name, arm] = run(arm, scene, folder, python, given.limit)
    text = report(results, scenes, given)
    print(text)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny volumes, to see that it runs")
    parser.add_argument("--nnunet", metavar="PYTHON", help="interpreter that has nnunetv2")
    parser.add_argument("--totalsegmentator", metavar="PYTHON", help="one that has it")
    parser.add_argument("--limit", type=float, default=14.0, help="GB that a way may take")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser.parse_args(arguments)


def smaller(scene: Scene) -> Scene:
    """The same with an eighth of the voxels along each axis."""
    x, y, z = (max(n // 8, 32) for n in scene.shape)
    return replace(scene, shape=(x, y, z), window=(32, 32, 32))


def title(scene: Scene) -> str:
    """Plain words for a volume."""
    body = "left atrium" if scene.network == "vnet" else "CT"
    wide = ", 32 channels" if scene.network == "unet32" else ""
    return f"{body} {' × '.join(map(str, scene.shape))}, {scene.classes} classes{wide}"


def run(arm: str, scene: Scene, folder: Path, python: str | None, limit: float) -> Result:
    """Run one way in a process of its own.

    Args:
        arm: a key of `predict_arms.ARMS`.
        scene: the volume.
        folder: of files that the ways share.
        python: the interpreter; None means that this way is not measured.
        limit: GB beyond which an allocation fails.

    Returns:
        What the process told; `failed` says why it told nothing.
    """
    if python is None:
        return {"failed": "not measured"}
    print(f"{arm}, {scene.name} …", file=sys.stderr, flush=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    paths = os.pathsep.join([str(ARMS.parents[1]), str(ARMS.parent)])
    allowed = int(limit * 1e9) if scene.device == "cpu" else resource.RLIM_INFINITY
    done = subprocess.run(
        [python, str(ARMS), arm, json.dumps(asdict(scene)), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **threads, "PYTHONPATH": paths, "TOTALSEG_DISABLE_HTTP_CALLS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (allowed,) * 2),
    )
    if done.returncode == 0:
        told: Result = json.loads(done.stdout.strip().splitlines()[-1])
        return told
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if any(sign in done.stderr.lower() for sign in ("memoryerror", "allocate", "bad_alloc")):
        return {"failed": f"needs more than {limit:.0f} GB"}
    print(done.stderr[-3000:], file=sys.stderr)
    return {"failed": reason[:120]}


def report(
    results: Mapping[tuple[str, str], Result], scenes: Sequence[Scene], given: argparse.Namespace
) -> str:
    """All tables in Markdown."""
    lines = [
        "# Speed and memory of prediction",
        "",
        f"{datetime.date.today()}, {machine(given)}; GB of main memory at the peak of a process, of"
        f" which the imported libraries take about 0.7; written by `{command(given)}`.",
        "",
        "`network` is the time inside the network; `windows` cuts, weights and adds up; `back` takes"
        " scores to labels on the grid of the source; `write` of medsemi also measures all structures"
        " and reads the file back. Nothing overlaps here, while a run reads and writes beside the"
        " network. Structures differ in brightness, so each also covers the rim of every brighter"
        " one: all bounding boxes span the body, which is hard on `back` and `write`.",
    ]
    for scene in scenes:
        lines += ["", f"## {title(scene)}", "", *workflows(results, scene.name)]
    lines += ["", "## Goals", "", *goals(results, scenes)]
    if given.device == "cpu":
        lines += ["", "## From scores to a written label map", "", *exports(results, scenes)]
    return "\n".join(lines) + "\n"


def machine(given: argparse.Namespace) -> str:
    """Where it was measured, and how time was."""
    software = f"torch {torch.__version__}"
    if given.device != "cpu":
        return f"{torch.cuda.get_device_name()}, {software}; seconds by the clock"
    load = os.getloadavg()[0]
    processor = f"{platform.machine()} CPU, 1 thread, load average {load:.1f}"
    return f"{processor}, {software}; CPU seconds"


def command(given: argparse.Namespace) -> str:
    """The command that writes the report."""
    options = " --small" if given.small else ""
    others = " --nnunet PYTHON --totalsegmentator PYTHON"
    options += others if given.device == "cpu" else f" --device {given.device}"
    return f"python benchmarks/predict_speed.py{options}"


def workflows(results: Mapping[tuple[str, str], Result], scene: str) -> list[str]:
    """Both whole workflows on one volume."""
    head = "| | " + " | ".join(STAGES) + " | total | total / network | peak GB |"
    lines = [head, "|---" * (len(STAGES) + 4) + "|"]
    for arm, title in (("medsemi", "medsemi"), ("monai", "MONAI workflow")):
        told = results[scene, arm]
        if "failed" in told:
            lines.append(f"| {title} | {told['failed']} |" + " |" * (len(STAGES) + 2))
            continue
        cells = [f"{told['seconds'][stage]:.1f}" for stage in STAGES]
        ends = [f"{total(told):.1f}", f"{ratio(told):.2f}", f"{highest(told):.2f}"]
        lines.append(f"| {title} | " + " | ".join([*cells, *ends]) + " |")
    ours, monai = results[scene, "medsemi"], results[scene, "monai"]
    if "failed" not in ours:
        peaks = ", ".join(f"{k} {v:.2f}" for k, v in ours["peak"].items())
        every = ours["seconds"]["write all"]
        lines += [
            "",
            f"medsemi: peaks {peaks} GB; label map, volumes and preview written in {every:.1f} s;"
            f" memory mode {ours['memory_mode']}.",
        ]
    if "equal" in monai:
        lines += ["", f"Equal labels: {100 * monai['equal']:.3f} % of voxels."]
    return lines


def goals(results: Mapping[tuple[str, str], Result], scenes: Sequence[Scene]) -> list[str]:
    """What was aimed at, and what is reached."""
    lines = []
    for scene in scenes:
        told = results[scene.name, "medsemi"]
        if "failed" not in told:
            lines.append(
                f"- {title(scene)}: total / network {ratio(told):.2f} (goal ≤ {GOAL_TIME[scene.device]})"
            )
    few, many = (results.get((scene, "medsemi"), {"failed": ""}) for scene in ("ct2", "ct20"))
    if "failed" not in few and "failed" not in many:
        growth = highest(many) / highest(few)
        lines.append(f"- memory of 20 classes / 2 classes: {growth:.2f} (goal ≤ {GOAL_MEMORY})")
    return lines


def exports(results: Mapping[tuple[str, str], Result], scenes: Sequence[Scene]) -> list[str]:
    """The ways back to the grid of the source, on the same scores."""
    lines = [
        "The same scores of a 2 mm grid for all; memory beyond them and the libraries."
        " TotalSegmentator resamples labels instead of scores, which is less work and less exact.",
        "",
        "| | classes | back | write | peak GB beyond |",
        "|---|---|---|---|---|",
    ]
    for (scene, arm), told in results.items():
        name = arm.removeprefix("export ")
        if name == arm:
            continue
        classes = next(s.classes for s in scenes if s.name == scene)
        if "failed" in told:
            lines.append(f"| {name} | {classes} | {told['failed']} | | |")
        else:
            cells = [f"{told['seconds'][k]:.1f}" for k in ("back", "write")]
            lines.append(f"| {name} | {classes} | {' | '.join(cells)} | {highest(told):.2f} |")
    return lines


def total(told: Result) -> float:
    """CPU seconds of all stages."""
    return float(sum(told["seconds"][stage] for stage in STAGES))


def ratio(told: Result) -> float:
    """Total over the time inside the network."""
    return total(told) / float(told["seconds"]["network"])


def highest(told: Result) -> float:
    """Peak of the stages that every way has, in GB."""
    return float(max(v for k, v in told["peak"].items() if k != "write all"))


if __name__ == "__main__":
    main()
