"""Labels of unlabeled cases from a finished training, with how stable each of them is."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd, InvertibleTransform
from torch import Tensor, nn

from medsemi.atomic import write_atomically
from medsemi.data.manifest import Case
from medsemi.data.rounds import MADE, RECORDS, PseudoLabel, read_pseudo_labels
from medsemi.data.volumes import content_digest, describe
from medsemi.data.writing import write_nifti
from medsemi.errors import CheckpointError
from medsemi.parts.label_agreement import label_agreement
from medsemi.training.checkpoint import load_weights
from medsemi.training.devices import checked_device
from medsemi.training.exported import fitting
from medsemi.training.occupancy import occupied
from medsemi.training.provenance import provenance_tags

logger = logging.getLogger(__name__)

DEPLOYED = "model"
# Networks of other views or roles are no second opinion of the deployed one.
OPINIONS = ("student", "teacher", "snapshot_1", "snapshot_2")
# What a label depends on; date and versions are told beside it.
_DECISIVE = ("weights", "inference", "preprocessing", "image")


class PseudoLabeling:
    """Writes a label file and a record for each case; a case that has both is left as it is.

    Unless it was made with other weights, windows or preparation, or of another image.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        weights_dir: str | Path,
        cases: Sequence[Case],
        dataset_dir: str | Path,
        preprocessing: InvertibleTransform,
        inference: Callable[[Tensor, nn.Module], Tensor],
        output_dir: str | Path,
        device: torch.device | str,
        networks: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """Remember what is labeled.

        Args:
            network: the architecture; its weights do not matter.
            weights_dir: the run folder of a training: `model.pt` labels, and `student.pt`,
                `teacher.pt` and snapshots are the other opinions, as far as they differ from it.
            cases: unlabeled ones; their label is never read.
            dataset_dir: where their paths start.
            preprocessing: invertible MONAI transforms of {"image": path}.
            inference: as for `evaluate_cases`.
            output_dir: gets `labels/<case>.nii.gz`, on the grid of the image, and
                `records/<case>.json`.
            device: where the networks run.
            networks: by name, the architecture of those that have another one than `network`, such
                as `students` that see views.
        """
        self.architecture, self.special = network, networks or {}
        self.weights_dir = Path(weights_dir)
        self.cases, self.dataset_dir = list(cases), Path(dataset_dir)
        self.preprocessing, self.inference = preprocessing, inference
        described = json.dumps(describe(preprocessing), sort_keys=True)
        self.preparation = hashlib.sha256(described.encode()).hexdigest()
        self.output_dir, self.device = Path(output_dir), checked_device(device)
        # Probabilities are interpolated, then decided, so that edges stay where they are.
        self.invert = Invertd(
            keys="pred", transform=preprocessing, orig_keys="image", nearest_interp=False
        )

    def run(self) -> list[PseudoLabel]:
        """Label what is not labeled yet.

        Returns:
            The records of all cases, in their order.

        Raises:
            CheckpointError: if the training is not finished, or left only one network.
            DataError: if an image cannot be read.
            MedsemiError: if another process works in the folder.
        """
        with occupied(self.output_dir):
            return self._run()

    def _run(self) -> list[PseudoLabel]:
        networks = self._networks()
        weights = (self.weights_dir / f"{DEPLOYED}.pt").read_bytes()
        origin = {
            "weights": hashlib.sha256(weights).hexdigest(),
            "inference": _described(self.inference),
            "preprocessing": self.preparation,
            "date": str(datetime.datetime.now(datetime.timezone.utc).date()),
            **provenance_tags(),
        }
        known = {label.case_id: label for label in read_pseudo_labels(self.output_dir)}
        labels = []
        for number, case in enumerate(self.cases, 1):
            label = self._labeled(case, networks, origin, known.get(case.case_id))
            text = "%d of %d: %s, stability %.3f"
            logger.info(text, number, len(self.cases), case.case_id, label.stability)
            labels.append(label)
        return labels

    def _networks(self) -> dict[str, nn.Module]:
        deployed = self.weights_dir / f"{DEPLOYED}.pt"
        if not deployed.is_file():
            msg = f"{self.weights_dir} holds no {DEPLOYED}.pt: finish the training first."
            raise CheckpointError(msg)
        paths = {name: self.weights_dir / f"{name}.pt" for name in OPINIONS}
        own = self._network(deployed)
        found = {name: self._network(path) for name, path in paths.items() if path.is_file()}
        others = {name: network for name, network in found.items() if differ(network, own)}
        if not others:
            msg = (
                f"{self.weights_dir} holds one network alone, and the stability of a label takes two:"
                " let the training export snapshots or deploy its teacher."
            )
            raise CheckpointError(msg)
        return {DEPLOYED: own, **others}

    def _network(self, path: Path) -> nn.Module:
        network = fitting(self.architecture, path, self.special)
        return load_weights(network, path).to(self.device).eval()

    def _labeled(
        self,
        case: Case,
        networks: Mapping[str, nn.Module],
        origin: Mapping[str, str],
        known: PseudoLabel | None,
    ) -> PseudoLabel:
        """The label of a case: the known one, unless something that it depends on has changed."""
        image = content_digest(self.dataset_dir / case.image).hex()
        origin = {**origin, "image": image}
        if known is not None and all(known.origin.get(k) == origin[k] for k in _DECISIVE):
            return known
        return self._label(case, networks, origin)

    def _label(
        self, case: Case, networks: Mapping[str, nn.Module], origin: Mapping[str, str]
    ) -> PseudoLabel:
        data = dict(self.preprocessing({"image": str(self.dataset_dir / case.image)}))
        image = torch.as_tensor(np.asarray(data["image"]), dtype=torch.float32)[None]
        with torch.inference_mode():
            said = {
                name: self.inference(image.to(self.device), network)[0].cpu()
                for name, network in networks.items()
            }
        decided = {name: probabilities.argmax(0) for name, probabilities in said.items()}
        own = decided.pop(DEPLOYED)
        agreement = {k: float(label_agreement(own, other)) for k, other in decided.items()}
        foreground = int((own > 0).sum())
        # An empty label has nothing to teach, however much everybody agrees on it.
        stability = mean(agreement.values()) if foreground else 0.0
        path = self.output_dir / MADE / f"{case.case_id}.nii.gz"
        record = self.output_dir / RECORDS / f"{case.case_id}.json"
        record.unlink(missing_ok=True)  # a kill may come between the label and its record
        self._write(path, data, said[DEPLOYED])
        label = PseudoLabel(case.case_id, path.name, stability, agreement, foreground, dict(origin))
        with write_atomically(record) as temporary:
            temporary.write_text(json.dumps(vars(label), indent=1) + "\n")
        return label

    def _write(self, path: Path, data: dict[str, Any], probabilities: Tensor) -> None:
        predicted = MetaTensor(probabilities, meta=data["image"].meta)
        inverted: Any = self.invert({**data, "pred": predicted})["pred"]  # type: ignore[dict-item]
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.asarray(inverted.argmax(0)).astype(np.uint8)
        write_nifti(path, labels, np.asarray(inverted.affine, dtype=np.float64))


def _described(inference: object) -> str:
    """How windows are laid and averaged, where the inference says so."""
    names = ("window", "size", "stride", "weighting", "average", "mirror_axes")
    return ", ".join(f"{name} {getattr(inference, name, None)}" for name in names)


def differ(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have different weights; a pair of networks differs from a single one."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() != theirs.keys() or any(not v.equal(theirs[k]) for k, v in ours.items())
