"""A finished training as a bundle of its own: what `medsemi predict --model` takes.

`<stage folder>/bundle/` holds the configuration that the network was trained with, the weights of all
networks, and what the training data were like, so that a prediction can say when an image is not.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medsemi.bundle.merged import lookup
from medsemi.bundle.model_card import model_card
from medsemi.bundle.reading import SEPARATOR, Finding, read
from medsemi.bundle.references import reachable
from medsemi.data.manifest import Case, Manifest
from medsemi.data.reading import read_volume
from medsemi.errors import ConfigError
from medsemi.prediction.bundle_network import load_network
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.model import load_model
from medsemi.prediction.ranges import measure_ranges, merge_ranges
from medsemi.training.exported import holds_pair, sees_views

logger = logging.getLogger(__name__)

COMMON = "configs/common.yaml"
INFERENCE = "configs/inference.yaml"
COPIED = (INFERENCE, "configs/logging.conf", "LICENSE")
README = "docs/README.md"
NETWORKS = ("model", "student", "teacher")
# What a prediction builds; everything that these refer to is taken over.
NODES = ("network_def", "inferer")
ROOTS = ("initialize", "run")
# How views of a window are made, where a network that is deployed sees one.
VIEWS = "views"
# What a bundle for any data does to an image; it belongs into the metadata of a trained one.
PREPARATION = "preparation"
# Those that lie in the bundle itself, wherever it is.
WEIGHTS = "$os.path.join(@bundle_root, 'models', 'model.pt')"
FORMAT = "network_data_format"
# How `inference.yaml` prepares images, where the training says it otherwise.
CHAIN = "inference_preprocessing"
# Ranges need no more; reading hundreds of volumes again would take longer than it tells.
MOST_MEASURED = 50


def deploy(
    bundle_root: str | Path, stage_dir: str | Path, dataset_dir: str | Path, manifest: Manifest
) -> Path | None:
    """Write the bundle of a finished training, on the first rank.

    Args:
        bundle_root: the bundle that was trained with.
        stage_dir: run folder of the stage, with its weights and `config.json`; a stage that was not
            started by `python -m monai.bundle run` has no `config.json` and keeps the bundle's values.
        dataset_dir: where the paths of the manifest start.
        manifest: its classes become the structures, its training images the ranges.

    Returns:
        The folder of the new bundle; None on other ranks.

    Raises:
        ConfigError: if a configuration file cannot be read.
        CheckpointError: if the weights cannot be read.
    """
    if os.environ.get("RANK", "0") != "0":
        return None
    source, stage = Path(bundle_root), Path(stage_dir)
    target, building = stage / "bundle", stage / ".bundle"  # the latter may be left by a kill
    shutil.rmtree(building, ignore_errors=True)
    for name in COPIED:
        if (source / name).is_file():
            _copy(source / name, building / name)
    _as_deployed(building / INFERENCE, stage / "config.json")
    for name in NETWORKS:
        if (stage / f"{name}.pt").is_file():
            _copy(stage / f"{name}.pt", building / "models" / f"{name}.pt")
    common = _as_trained(source / COMMON, stage / "config.json")
    common["bundle_root"] = "."
    if isinstance(common["network_def"].get("out_channels"), str):
        # An expression of the manifest, which does not travel with the bundle.
        common["network_def"]["out_channels"] = len(manifest.classes)
    if holds_pair(stage / "model.pt"):
        common["network_def"] = _pair(common["network_def"], stage / "model.pt")
    header = "# The configuration that this network was trained with.\n"
    used = _used(common, building / INFERENCE)
    text = header + yaml.safe_dump(used, sort_keys=False)
    (building / COMMON).write_text(text, encoding="utf-8")
    metadata = _metadata(source, common, manifest, Path(dataset_dir))
    text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
    (building / "configs" / "metadata.json").write_text(text, encoding="utf-8")
    (building / README).parent.mkdir()
    (building / README).write_text(model_card(metadata, stage, manifest), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)
    _say_how_to_segment(target)
    return target


def _say_how_to_segment(bundle: Path) -> None:
    """Name the command that takes a bundle; `medsemi predict` does not know every published protocol."""
    try:
        load_network(load_model(bundle))
    except RunStopped as refusal:
        files = [str(bundle / name) for name in (COMMON, INFERENCE)]
        logger.info("medsemi predict does not take this bundle: %s", refusal)
        logger.info(
            'python -m monai.bundle run --config_file "%s" --bundle_root %s --dataset_dir FOLDER'
            " --output_dir RESULTS",
            files,
            bundle,
        )
    else:
        logger.info("medsemi predict FOLDER --model %s --out RESULTS", bundle)


def _metadata(
    source: Path, common: Mapping[str, Any], manifest: Manifest, dataset_dir: Path
) -> dict[str, Any]:
    """Those of the bundle that was trained with, with classes and preparation of the training."""
    metadata = _read(source / "configs" / "metadata.json")
    known = {"name": source.resolve().name, **metadata.get("medsemi", {})}
    known |= _plain(common.get(PREPARATION, {}), common)
    if FORMAT in metadata:
        metadata[FORMAT] = _shapes(metadata[FORMAT], manifest.classes)
    metadata["medsemi"] = contract(known, manifest, dataset_dir)
    return metadata


def contract(known: Mapping[str, Any], manifest: Manifest, dataset_dir: Path) -> dict[str, Any]:
    """What the bundle says about itself, completed by the data that it was trained on.

    Args:
        known: key `medsemi` of the metadata of the bundle that was trained with.
        manifest: of the training.
        dataset_dir: where its paths start.

    Returns:
        The same with `labels` named as in the manifest (codes and colors stay where the name does)
        and with `training_ranges`.
    """
    described = {str(k): v for k, v in known.get("labels", {}).items()}
    labels = {}
    for number, name in manifest.classes.items():
        entry = described.get(str(number), {})
        same = str(entry.get("name", "")).lower() == name.lower()
        if number:
            labels[str(number)] = entry if same else {"name": name}
    cases = (*manifest.labeled, *manifest.unlabeled)
    ranges = training_ranges(cases[:: -(-len(cases) // MOST_MEASURED)], dataset_dir)
    return {**known, "labels": labels, "training_ranges": ranges}


def training_ranges(cases: Sequence[Case], dataset_dir: Path) -> dict[str, list[float]]:
    """Least and greatest of each measure over the images of `cases`; see `measure_ranges`."""
    measured = []
    for case in cases:
        values, affine = read_volume(dataset_dir / case.image)
        measured.append(measure_ranges(values, affine))
    return merge_ranges(measured)


def _as_trained(common: Path, recorded: Path) -> dict[str, Any]:
    """`common.yaml` with every value that network and inferer depend on as the run had it."""
    config = _read(common)
    if not recorded.is_file():
        return config
    trained = json.loads(recorded.read_text(encoding="utf-8"))
    nodes = [node for node in (*NODES, VIEWS, PREPARATION) if node in trained]
    needed = {path.split(SEPARATOR)[0] for path in reachable(trained, nodes)}
    known = {k: lookup(trained, k) if k in needed else v for k, v in config.items()}
    return known | {k: lookup(trained, k) for k in sorted(needed - known.keys())}


def _used(common: Mapping[str, Any], inference: Path) -> dict[str, Any]:
    """What the only workflow of the bundle and a prediction need; a key that nothing uses is a mistake."""
    if not inference.is_file():
        return dict(common)
    tree = {**common, **_read(inference)}
    needed = reachable(tree, [*ROOTS, *(node for node in NODES if node in tree)])
    kept = {"imports", *(path.split(SEPARATOR)[0] for path in needed)}
    return {key: value for key, value in common.items() if key in kept}


def _as_deployed(inference: Path, recorded: Path) -> None:
    """The bundle has its own weights, and images are prepared as a plan of the training may say."""
    if not inference.is_file():
        return
    config = {key: value for key, value in _read(inference).items() if key != "trained"}
    config |= {"weights": WEIGHTS, "output_dir": "results"}
    if recorded.is_file():
        trained = json.loads(recorded.read_text(encoding="utf-8"))
        config |= {CHAIN: trained[CHAIN]} if CHAIN in trained else {}
    header = "# overlay of: common.yaml\n# Segments a folder of NIfTI files with the weights of this bundle.\n"
    inference.write_text(header + yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _shapes(form: Mapping[str, Any], classes: Mapping[int, str]) -> dict[str, Any]:
    """`network_data_format` with the classes of the training."""
    predicted = {
        **form["outputs"]["pred"],
        "num_channels": len(classes),
        "channel_def": {str(number): name for number, name in classes.items()},
    }
    return {**form, "outputs": {**form["outputs"], "pred": predicted}}


def _plain(node: Any, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a configuration)
    """`node` with each reference `@key` replaced by the value of that key."""
    if isinstance(node, Mapping):
        return {key: _plain(value, config) for key, value in node.items()}
    return config[node[1:]] if isinstance(node, str) and node.startswith("@") else node


def _pair(network: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """The configuration of two networks that answer with one voice, each on its view if it has one."""
    members: list[dict[str, Any]] = [dict(network), copy.deepcopy(dict(network))]
    if sees_views(weights):
        on_view = {"_target_": "medsemi.parts.views.OnView", "views": "@views"}
        members = [
            {**on_view, "network": member, "band": band}
            for member, band in zip(members, ("low", "high"), strict=True)
        ]
    target = "medsemi.parts.two_networks.NetworkPair"
    return {"_target_": target, "first": members[0], "second": members[1]}


def _read(path: Path) -> dict[str, Any]:
    findings: list[Finding] = []
    content = read(path, findings)
    if findings:
        raise ConfigError(str(findings[0]))
    return content


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
