"""One way to segment one volume, alone in its process: seconds and peak memory of each stage.

Usage: python benchmarks/predict_arms.py ARM SCENE FOLDER

Started by `predict_speed.py`; the foreign arms also run where only nnU-Net or TotalSegmentator are
installed. The last line of the output is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIP = (-200.0, 300.0)


@dataclass(frozen=True)
class Scene:
    """A volume and the network for it.

    Attributes:
        name: of its files.
        shape: in voxels.
        spacing: in mm.
        working: spacing of the network in mm; None keeps that of the volume.
        classes: with the background.
        window: edges of the sliding window.
        overlap: of windows.
        network: `unet`, `unet32` with four times its channels, or `vnet`.
        device: of the network.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    working: float | None
    classes: int
    window: tuple[int, int, int]
    overlap: float
    network: str
    device: str = "cpu"

    @property
    def affine(self) -> NDArray[np.float64]:
        """Of the NIfTI file: RAS; columns grow to the left and rows to the back, as in DICOM."""
        return np.diag([-self.spacing[0], -self.spacing[1], self.spacing[2], 1.0])

    def levels(self) -> NDArray[np.float32]:
        """The value of each class, within `CLIP`."""
        return np.linspace(*CLIP, self.classes, dtype=np.float32)


def now(device: str) -> float:
    """CPU seconds, which hardly depend on what else the machine does; the clock's, once a GPU is done."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


class Stages:
    """Seconds and peak memory of stages that follow each other.

    Libraries run with the threads that they are given, and wall-clock time is kept beside them.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Start with nothing; memory that is in use now is the floor."""
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self.peak: dict[str, float] = {}
        self.floor = held_gb("VmRSS")
        self._start = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        with suppress(OSError):  # resets the peak; where it cannot, the peak is that of all before
            Path("/proc/self/clear_refs").write_text("5")
        start = now(self.device)
        yield
        self.seconds[name] += now(self.device) - start
        self.peak[name] = max(self.peak.get(name, 0), held_gb())

    def result(self, **more: object) -> dict[str, Any]:
        """What is told to the parent."""
        wall = time.perf_counter() - self._start
        told = {"seconds": dict(self.seconds), "peak": self.peak, "floor": self.floor, "wall": wall}
        return {**told, **more}


def held_gb(entry: str = "VmHWM") -> float:
    """Memory that this process held at most since the peak was reset, or holds now (`VmRSS`)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(entry))
    return int(line.split()[1]) * 1024 / 1e9


def make_volume(scene: Scene, path: Path) -> None:
    """A body with one ellipsoid for each structure, and noise, as int16 HU."""
    import nibabel as nib

    random = np.random.default_rng(5)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in scene.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    body = (x**2 / 0.8 + y**2 / 0.6 < 1) & (z < 2)
    values = np.where(body, CLIP[0], -1000).astype(np.float32)
    for level in scene.levels()[1:]:
        place, size = random.uniform(-0.5, 0.5, 3), random.uniform(0.08, 0.22, 3)
        inside = sum(((a - p) / s) ** 2 for a, p, s in zip((x, y, z), place, size, strict=True))
        values[inside < 1] = level
    noise = random.standard_normal(scene.shape, dtype=np.float32)
    values += noise * float(np.diff(scene.levels())[0]) / 10
    image = nib.Nifti1Image(np.rint(values).astype(np.int16), scene.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def make_scores(scene: Scene, path: Path) -> None:
    """Logits of a sharp network on the working grid, float32 (classes, x, y, z)."""
    import nibabel as nib

    values = np.asarray(nib.load(path.with_suffix("").with_suffix(".nii.gz")).dataobj)
    shape = working_shape(scene)
    index = [
        ((np.arange(n) + 0.5) * total / n).astype(int)
        for n, total in zip(shape, scene.shape, strict=True)
    ]
    coarse = (values[np.ix_(*index)].clip(*CLIP) - CLIP[0]) / (CLIP[1] - CLIP[0])
    steps = np.arange(scene.classes, dtype=np.float32)[:, None, None, None]
    coarse = coarse.astype(np.float32) * (scene.classes - 1)
    np.save(path, 20 * steps * coarse - 10 * steps**2)


def working_shape(scene: Scene) -> tuple[int, ...]:
    """Voxels of the network's grid."""
    assert scene.working is not None
    pairs = zip(scene.shape, scene.spacing, strict=True)
    return tuple(int(np.ceil(n * s / scene.working)) for n, s in pairs)


def network_of(scene: Scene) -> Any:  # noqa: ANN401  (torch is not imported here)
    """A small network with random weights, to which the class of the voxel's value is added.

    So it costs what such a network costs, and finds what is in the volume.
    """
    import torch
    from monai.networks.nets import BasicUNet
    from torch import Tensor, nn

    from medsemi.networks.vnet import VNet

    torch.manual_seed(0)

    class Network(nn.Module):
        """Scores of the nearest level, and a hundredth of what the random network says."""

        def __init__(self) -> None:
            super().__init__()
            if scene.network == "vnet":
                self.costly: nn.Module = VNet(out_channels=scene.classes)
            else:
                features = (8, 8, 16, 32, 64, 8)
                if scene.network == "unet32":
                    features = (32, 32, 64, 128, 256, 32)
                self.costly = BasicUNet(3, 1, scene.classes, features=features)
            self.cheap = nn.Conv3d(1, scene.classes, 1)
            steps = torch.arange(scene.classes, dtype=torch.float32)
            self.cheap.weight.data = (20 * (scene.classes - 1) * steps).view(-1, 1, 1, 1, 1)
            self.cheap.bias.data = -10 * steps**2

        def forward(self, image: Tensor) -> Tensor:
            scores: Tensor = self.costly(image).mul_(0.01).add_(self.cheap(image))
            return scores

    return Network().eval()


def timed_network(network: Any, stages: Stages) -> Callable[[], float]:  # noqa: ANN401
    """Add up the seconds inside a network; the result returns them."""
    seconds, start = 0.0, 0.0

    def before(*_: object) -> None:
        nonlocal start
        start = now(stages.device)

    def after(*_: object) -> None:
        nonlocal seconds
        seconds += now(stages.device) - start

    network.register_forward_pre_hook(before)
    network.register_forward_hook(after)
    return lambda: seconds


def write_bundle(scene: Scene, folder: Path) -> None:
    """The network as a bundle."""
    import torch

    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    names = {str(n): {"name": f"structure {n}"} for n in range(1, scene.classes)}
    spacing = None if scene.working is None else [scene.working] * 3
    contract = {
        "modality": ["CT", "any"],
        "labels": names,
        "spacing": spacing,
        "intensity": {"clip": list(CLIP), "norm": "range", "background": -1000},
    }
    metadata = {"version": "0", "medsemi": contract}
    (folder / "configs/metadata.json").write_text(json.dumps(metadata))
    inferer = {
        "_target_": "monai.inferers.SlidingWindowInferer",
        "roi_size": list(scene.window),
        "overlap": scene.overlap,
        "mode": "gaussian",
    }
    described = json.dumps(asdict(scene)).replace("null", "None")
    nodes = {
        "imports": ["$import predict_arms"],
        "network_def": f"$predict_arms.network_of(predict_arms.Scene(**{described}))",
        "inferer": inferer,
    }
    (folder / "configs/inference.json").write_text(json.dumps(nodes))
    torch.save(network_of(scene).state_dict(), folder / "models/model.pt")


def warm_up(network: Any, scene: Scene) -> None:  # noqa: ANN401
    """Let a GPU choose its kernels, which a training or a folder of scans pays for once."""
    import torch

    if scene.device != "cpu":
        windows = torch.zeros(4, 1, *scene.window, device=scene.device)
        with torch.inference_mode(), torch.autocast("cuda", torch.float16):
            network.to(scene.device)(windows)


def run_medsemi(scene: Scene, folder: Path) -> dict[str, Any]:
    """Reading, network and writing as `medsemi predict` does them, one after the other."""
    from medsemi.prediction import network as stages_of_network
    from medsemi.prediction.discovery.scan import discover
    from medsemi.prediction.model import load_model
    from medsemi.prediction.network import Segmenter
    from medsemi.prediction.options import Options
    from medsemi.prediction.outputs.write import write_case
    from medsemi.prediction.reading.volume import read_volume

    write_bundle(scene, folder / f"{scene.name}-bundle")
    model, options = load_model(folder / f"{scene.name}-bundle"), Options(device=scene.device)
    segmenter = Segmenter(model, options)
    warm_up(segmenter.networks[0], scene)
    if scene.device == "cpu":  # the clock of its stages counts CPU seconds like ours
        stages_of_network.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    inside = timed_network(segmenter.networks[0], stages := Stages(scene.device))
    with stages.stage("read"):
        (case,) = discover([folder / f"{scene.name}.nii.gz"], options, model).cases
        volume = read_volume(case, model.intensity.background)
    with stages.stage("segment"):
        result = segmenter.segment(case, volume)
    out = folder / f"{scene.name}-medsemi"
    for name, outputs in (("write", ("nifti",)), ("write all", options.outputs)):
        (out / name).mkdir(parents=True, exist_ok=True)
        chosen = Options(device=scene.device, outputs=outputs)
        with stages.stage(name):
            write_case(out / name, case, volume, result, model, chosen, "0" * 64)
    np.save(folder / f"{scene.name}-medsemi.npy", result.labels)
    spent, told = stages.seconds, result.seconds
    del spent["segment"]
    spent["to grid"], spent["back"] = told["resample"], told["back"]
    spent["network"], spent["windows"] = inside(), told["network"] - inside()
    return stages.result(memory_mode=result.memory_mode)


def run_monai(scene: Scene, folder: Path) -> dict[str, Any]:
    """The workflow of MONAI's bundles: invert the transforms of all scores, then decide."""
    import torch
    from monai.data import decollate_batch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        AsDiscreted,
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

    network = network_of(scene)
    reading = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        Orientationd("image", axcodes="RAS", labels=None),
    ]
    gridding: list[Any] = [ScaleIntensityRanged("image", *CLIP, 0, 1, clip=True)]
    gridding.insert(0, EnsureTyped("image", device=torch.device(scene.device)))
    if scene.working is not None:
        gridding.insert(1, Spacingd("image", [scene.working] * 3, mode="bilinear"))
    before = Compose([*reading, *gridding])
    gpu = scene.device != "cpu"
    inferer = SlidingWindowInferer(scene.window, 4 if gpu else 1, scene.overlap, "gaussian")
    warm_up(network, scene)
    inside = timed_network(network, stages := Stages(scene.device))
    half = torch.autocast("cuda", torch.float16, enabled=gpu)
    with stages.stage("read"):
        item = Compose(reading)({"image": folder / f"{scene.name}.nii.gz"})
    with stages.stage("to grid"):
        item = Compose(gridding)(item)
    with stages.stage("windows"), torch.inference_mode(), half:
        item["pred"] = inferer(item["image"][None], network)
    (item["pred"],) = decollate_batch(item["pred"].float())
    with stages.stage("back"):
        back = Invertd("pred", before, "image", nearest_interp=False, to_tensor=True)
        item = AsDiscreted("pred", argmax=True)(back(item))
    with stages.stage("write"):
        out = folder / f"{scene.name}-monai"
        save = SaveImaged(
            "pred", output_dir=out, output_dtype=np.uint8, resample=False, print_log=False
        )
        save(item)
    labels = item["pred"][0].cpu().numpy()
    ours = np.load(folder / f"{scene.name}-medsemi.npy")
    stages.seconds["network"] = inside()
    stages.seconds["windows"] -= inside()
    return stages.result(equal=float((labels == ours).mean()))


def export_medsemi(scene: Scene, folder: Path) -> dict[str, Any]:
    """Scores of the working grid to labels of the source, written and read back."""
    import torch

    from medsemi.prediction.case import LPS_FROM_RAS, Grid
    from medsemi.prediction.outputs.labelmap import write_label_map
    from medsemi.prediction.resampling import labels_on

    scores, source, working = _grids(scene, folder)
    grids = [Grid(shape, LPS_FROM_RAS @ affine) for shape, affine in (source, working)]
    stages = Stages()
    with stages.stage("back"):
        labels = labels_on(torch.from_numpy(scores), grids[1], grids[0])
    with stages.stage("write"):
        write_label_map(folder / "medsemi-export.nii.gz", labels, grids[0], scene.classes - 1)
    return stages.result(voxels=int((labels > 0).sum()))


def export_nnunet(scene: Scene, folder: Path) -> dict[str, Any]:
    """The export of nnU-Net, with the resampling that its plans name by default."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as convert,
    )
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    scores = _grids(scene, folder)[0].transpose(0, 3, 2, 1)
    names = {"background": 0, **{f"s{n}": n for n in range(1, scene.classes)}}
    resample = partial(
        resample_data_or_seg_to_shape, is_seg=False, order=1, order_z=0, force_separate_z=None
    )
    plans = SimpleNamespace(transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2])
    configuration = SimpleNamespace(
        spacing=[scene.working] * 3, resampling_fn_probabilities=resample
    )
    shape = scene.shape[::-1]
    properties = {
        "spacing": scene.spacing[::-1],
        "shape_after_cropping_and_before_resampling": shape,
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, n] for n in shape],
        "sitk_stuff": {
            "spacing": scene.spacing,
            "origin": (0.0, 0.0, 0.0),
            "direction": np.eye(3).ravel().tolist(),
        },
    }
    stages = Stages()
    with stages.stage("back"):
        manager = LabelManager(names, None)
        labels = convert(scores, plans, configuration, manager, properties, num_threads_torch=1)
    with stages.stage("write"):
        SimpleITKIO().write_seg(labels, str(folder / "nnunet-export.nii.gz"), properties)
    return stages.result(voxels=int((labels > 0).sum()))


def export_totalsegmentator(scene: Scene, folder: Path) -> dict[str, Any]:
    """The export of TotalSegmentator: it resamples labels, not scores."""
    import nibabel as nib
    from totalsegmentator.resampling import change_spacing

    scores, source, working = _grids(scene, folder)
    labels = nib.Nifti1Image(scores.argmax(axis=0).astype(np.uint8), working[1])
    del scores
    stages = Stages()
    with stages.stage("back"):
        image = change_spacing(
            labels, scene.working, source[0], order=1, dtype=np.uint8, nr_cpus=1,
            force_affine=source[1], crop_resample=True,
        )  # fmt: skip
    with stages.stage("write"):
        nib.save(image, folder / "totalsegmentator-export.nii.gz")
    return stages.result(voxels=int((np.asanyarray(image.dataobj) > 0).sum()))


def _grids(scene: Scene, folder: Path) -> tuple[NDArray[np.float32], Any, Any]:
    """Scores, and shape and affine of the source and of the working grid, edges on edges."""
    scores = np.load(folder / f"{scene.name}.scores.npy")
    ratio = np.array(scene.shape) / scores.shape[1:]
    working = scene.affine @ np.diag([*ratio, 1.0])
    working[:3, 3] = scene.affine[:3, :3] @ ((ratio - 1) / 2)
    return scores, (scene.shape, scene.affine), (scores.shape[1:], working)


ARMS: dict[str, Callable[[Scene, Path], dict[str, Any]]] = {
    "medsemi": run_medsemi,
    "monai": run_monai,
    "export medsemi": export_medsemi,
    "export nnunet": export_nnunet,
    "export totalsegmentator": export_totalsegmentator,
}


def main(arm: str, described: str, folder: str) -> None:
    """Run one arm and tell what it took."""
    with suppress(ImportError):
        import torch

        torch.set_num_threads(1)
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(described).items()}
    print(json.dumps(ARMS[arm](Scene(**known), Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
