"""Prediction on a GPU: seconds of each stage of `medsemi predict` and of MONAI's workflow.

Usage: python benchmarks/gpu_predict.py [--small] [--device cuda] [--output benchmarks/gpu_predict.md]

Volumes and networks are those of `predict_speed.py`, and a network of 32 filters, whose cost is that of
a network in use. Stages follow each other here, with a wait for the GPU at each edge. The last table is
of the whole command on a folder of scans, where reading and writing run beside the network.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import predict_arms
import torch
from monai.data import decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    LoadImaged,
    Orientationd,
    SaveImaged,
    ScaleIntensityRanged,
    Spacingd,
)
from predict_arms import CLIP, Scene, make_volume, network_of, write_bundle
from predict_speed import CT, SCENES, smaller, title

from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.model import load_model
from medsemi.prediction.network import Segmenter
from medsemi.prediction.options import Options
from medsemi.prediction.outputs.write import write_case
from medsemi.prediction.reading.volume import read_volume

if TYPE_CHECKING:
    from torch import nn

ALL = (*SCENES, replace(CT, name="ct2wide", network="unet32"), replace(CT, name="ct20wide", classes=20, network="unet32"))  # fmt: skip
STAGES = ("read", "to grid", "network", "windows", "back", "write")
CASES = 4


def seconds(run: Callable[..., Any], *values: object) -> tuple[float, Any]:
    """Wall-clock seconds of a call with what the GPU still has to do, and the result."""
    wait()
    start = time.perf_counter()
    result = run(*values)
    wait()
    return time.perf_counter() - start, result


def wait() -> None:
    """Let the GPU finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed_network(network: nn.Module) -> Callable[[], float]:
    """Add up the seconds inside a network; the result returns them."""
    total, start = 0.0, 0.0

    def before(*_: object) -> None:
        nonlocal start
        wait()
        start = time.perf_counter()

    def after(*_: object) -> None:
        nonlocal total
        wait()
        total += time.perf_counter() - start

    network.register_forward_pre_hook(before)
    network.register_forward_hook(after)
    return lambda: total


def medsemi(scene: Scene, folder: Path, device: str) -> dict[str, Any]:
    """As `medsemi predict` works, one stage after the other; the second of two runs."""
    model = load_model(folder / f"{scene.name}-bundle")
    options = Options(device=device, outputs=("nifti",))
    segmenter = Segmenter(model, options)
    for _ in range(2):
        (case,) = discover([folder / f"{scene.name}.nii.gz"], options, model).cases
        read, volume = seconds(read_volume, case, model.intensity.background)
        inside = timed_network(segmenter.networks[0])
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        _, result = seconds(segmenter.segment, case, volume)
        out = folder / f"{scene.name}-out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        write, _ = seconds(write_case, out, case, volume, result, model, options, "0" * 64)
    spent = result.seconds
    stages = {
        "read": read, "to grid": spent["resample"], "network": inside(),
        "windows": spent["network"] - inside(), "back": spent["back"], "write": write,
    }  # fmt: skip
    return {"seconds": stages, "labels": result.labels, "mode": result.memory_mode, **peak()}


def monai(scene: Scene, folder: Path, device: str) -> dict[str, Any]:
    """The workflow of MONAI's bundles on the same device; the second of two runs."""
    network = network_of(scene).to(device)
    reading = Compose(
        [LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", axcodes="RAS", labels=None)]
    )  # fmt: skip
    gridding: list[Any] = [EnsureTyped("image", device=torch.device(device))]
    if scene.working is not None:
        gridding.append(Spacingd("image", [scene.working] * 3, mode="bilinear"))
    gridding.append(ScaleIntensityRanged("image", *CLIP, 0, 1, clip=True))
    before = Compose([*reading.transforms, *gridding])
    inferer = SlidingWindowInferer(scene.window, 4, scene.overlap, "gaussian")
    save = SaveImaged(
        "pred", output_dir=folder / f"{scene.name}-monai", output_dtype=np.uint8, resample=False,
        print_log=False,
    )  # fmt: skip
    for _ in range(2):
        inside = timed_network(network)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        read, item = seconds(reading, {"image": folder / f"{scene.name}.nii.gz"})
        grid, item = seconds(Compose(gridding), item)
        with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16):
            windows, item["pred"] = seconds(inferer, item["image"][None], network)
        (item["pred"],) = decollate_batch(item["pred"].float())
        invert = Invertd("pred", before, "image", nearest_interp=False, to_tensor=True)
        back, item = seconds(invert, item)
        item["pred"] = item["pred"].argmax(0, keepdim=True).to(torch.uint8)
        write, _ = seconds(save, item)
    stages = {
        "read": read, "to grid": grid, "network": inside(), "windows": windows - inside(),
        "back": back, "write": write,
    }  # fmt: skip
    return {"seconds": stages, "labels": item["pred"][0].cpu().numpy(), **peak()}


def peak() -> dict[str, float]:
    """GB on the GPU at the peak."""
    held = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    return {"gpu": held}


def tried(way: Callable[..., dict[str, Any]], *values: object) -> dict[str, Any]:
    """What a way told, or why it told nothing."""
    try:
        return way(*values)
    except (RuntimeError, MemoryError, torch.OutOfMemoryError) as error:
        return {"failed": str(error).splitlines()[0][:80]}


def table(scene: Scene, folder: Path, device: str) -> list[str]:
    """Both ways on one volume, and the labels of the CPU beside them."""
    if not (folder / f"{scene.name}.nii.gz").exists():
        make_volume(scene, folder / f"{scene.name}.nii.gz")
    write_bundle(scene, folder / f"{scene.name}-bundle")
    lines = ["", f"## {title(scene)}{', 32 filters' if scene.network == 'unet32' else ''}", ""]
    lines += ["| | " + " | ".join(STAGES) + " | total | total / network | GB of the GPU |"]
    lines += ["|---" * (len(STAGES) + 4) + "|"]
    told = {"medsemi": tried(medsemi, scene, folder, device)}
    told["MONAI workflow"] = tried(monai, scene, folder, device)
    for name, found in told.items():
        if "failed" in found:
            lines.append(f"| {name} | {found['failed']} |" + " |" * (len(STAGES) + 2))
            continue
        spent = found["seconds"]
        total = sum(spent.values())
        cells = [f"{spent[stage]:.2f}" for stage in STAGES]
        cells += [f"{total:.2f}", f"{total / spent['network']:.2f}", f"{found['gpu']:.1f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if scene.network != "unet32" and "labels" in told["medsemi"]:
        here = tried(medsemi, scene, folder, "cpu")
        if "labels" in here:
            equal = float((here["labels"] == told["medsemi"]["labels"]).mean())
            lines += ["", f"Labels of the CPU: {100 * equal:.3f} % of voxels equal."]
    if all("labels" in found for found in told.values()):
        equal = float((told["medsemi"]["labels"] == told["MONAI workflow"]["labels"]).mean())
        lines += ["", f"Labels of MONAI's workflow: {100 * equal:.3f} % of voxels equal."]
    return lines


def command(scene: Scene, folder: Path, device: str) -> list[str]:
    """The whole command on a folder of equal scans."""
    scans = folder / f"{scene.name}-scans"
    scans.mkdir()
    for number in range(CASES):
        shutil.copy(folder / f"{scene.name}.nii.gz", scans / f"scan{number}.nii.gz")
    out = folder / f"{scene.name}-command"
    line = [sys.executable, "-m", "medsemi.cli.main", "predict", str(scans), "--model"]
    line += [str(folder / f"{scene.name}-bundle"), "--out", str(out), "--device", device]
    paths = [str(Path(predict_arms.__file__).parents[1]), str(Path(predict_arms.__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": ":".join([*sys.path, *paths])}
    start = time.perf_counter()
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - start
    if done.returncode != 0:
        return ["", f"The command failed: {done.stdout[-600:]} {done.stderr[-600:]}"]
    files = sorted(out.rglob("case.json"))
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    network = sum(case["times_s"]["network"] for case in cases)
    if not cases:
        return ["", f"No case was segmented: {done.stdout[-600:]}"]
    return [
        f"| {title(scene)}{', 32 filters' if scene.network == 'unet32' else ''} | {len(cases)} |"
        f" {spent:.1f} | {network:.1f} | {(spent - network) / len(cases):.1f} |"
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--small", action="store_true", help="tiny volumes, to see that it runs")
    parser.add_argument(
        "--folder", type=Path, help="keep volumes here, and take those that are there"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args(arguments)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = ["# Prediction on a GPU", ""]
    lines += [f"{datetime.date.today()}, {name}, torch {torch.__version__}; seconds by the clock;"]
    lines += ["written by `python benchmarks/gpu_predict.py`."]
    scenes = [smaller(scene) for scene in ALL] if given.small else ALL
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for scene in scenes:
            lines += table(scene, folder, given.device)
            given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
        lines += ["", "## The command on a folder", ""]
        lines += [
            "| | scans | s | in the network, s | the rest, s a scan |",
            "|---|---|---|---|---|",
        ]
        for scene in (scenes[0], scenes[3]):
            lines += command(scene, folder, given.device)
    given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
