"""What a stage of a training reported, read back from MLflow, or from its folder.

The run folder holds everything that MLflow was told, so it is read first; MLflow also knows trainings
of other machines.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsemi.training.history import History, Row

logger = logging.getLogger(__name__)

METRICS = ("dice", "jaccard", "hd95_mm", "assd_mm")
MISSED = "missed"  # 1 where the reference has the structure and the prediction has not
TRAINING_TAG = "medsemi.training"  # the same for all stages of one training
PICTURES = ("best", "median", "worst")
# network -> case -> class -> metric -> value; None where it is not defined.
Scores = dict[str, dict[str, dict[str, dict[str, float | None]]]]

_NEEDED = ("history.csv", "cases.csv", "extremes")
_HISTORY, _SCORES = _NEEDED[:2]


@dataclass(frozen=True)
class StageRun:
    """One stage.

    Attributes:
        tags: what was tagged: device, revision, the network that is deployed.
        history: what was reported, in order.
        scores: of an evaluation; empty for a training.
        pictures: PNG of the best, median and worst case of an evaluation.
    """

    tags: Mapping[str, str]
    history: list[Row]
    scores: Scores
    pictures: Mapping[str, bytes]

    @property
    def training(self) -> str:
        """The identity of the training that it is a stage of; empty if the run tells none."""
        return self.tags.get(TRAINING_TAG, "")

    def is_of(self, training: str) -> bool:
        """Whether it may be a stage of this training; see `Tracked.find`."""
        return _is_of(training, self.tags)


def from_folder(folder: Path) -> StageRun | None:
    """Read a run folder; None if it holds no run."""
    record = folder / "run.json"
    if not record.is_file():
        return None
    tags = json.loads(record.read_text(encoding="utf-8"))["tags"]
    return _read(folder, tags)


class Tracked:
    """The finished runs of one experiment of MLflow.

    A server that does not answer is not asked again.
    """

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        """Remember where to ask; nothing is contacted.

        Args:
            tracking_uri: an MLflow server or file.
            experiment: name of the experiment.
        """
        self.tracking_uri, self.experiment = tracking_uri, experiment
        self._reachable = not self._is_absent_file()

    def find(
        self, stage: str, parameters: Mapping[str, str], training: str = ""
    ) -> StageRun | None:
        """The latest finished run of a stage; None if MLflow knows none, or not all of it.

        A server that does not answer, or files that were moved away from it, are no error.

        Args:
            stage: of the tag `medsemi.stage`.
            parameters: that the run must have.
            training: whose stage it must be; empty, and a run that does not tell, fit any.
        """
        if not self._reachable:
            return None
        try:
            return self._find(stage, parameters, training)
        except Exception as error:  # whatever a server, a proxy or a database raises
            self._reachable = False
            reason = " ".join(str(error).split())[:160]
            logger.warning("MLflow does not answer (%s); run folders are read instead.", reason)
            return None

    def _find(self, stage: str, parameters: Mapping[str, str], training: str) -> StageRun | None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        from mlflow import MlflowClient  # noqa: PLC0415  (3 s to import)

        client = MlflowClient(self.tracking_uri)
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return None
        asked = [f"params.`{name}` = '{value}'" for name, value in parameters.items()]
        asked += [f"tags.`medsemi.stage` = '{stage}'", "attributes.status = 'FINISHED'"]
        found = client.search_runs(
            [experiment.experiment_id],
            " and ".join(asked),
            order_by=["attributes.start_time DESC"],
        )
        run = next((run for run in found if _is_of(training, run.data.tags)), None)
        if run is None:
            return None
        run_id = run.info.run_id
        with tempfile.TemporaryDirectory() as temporary:
            for artifact in client.list_artifacts(run_id):
                # A folder is fetched as a whole: MLflow puts a file of one beside the others.
                if artifact.path in _NEEDED:
                    client.download_artifacts(run_id, artifact.path, temporary)
            has = {path.name for path in Path(temporary).iterdir()}
            if (_SCORES if stage == "evaluate" else _HISTORY) not in has:
                return None
            return _read(Path(temporary), run.data.tags)

    def _is_absent_file(self) -> bool:
        path = self.tracking_uri.removeprefix("sqlite:///")
        return path != self.tracking_uri and not Path(path).is_file()


def _is_of(training: str, tags: Mapping[str, str]) -> bool:
    return not training or tags.get(TRAINING_TAG, training) == training


def _read(folder: Path, tags: Mapping[str, str]) -> StageRun:
    pictures = {
        name: path.read_bytes()
        for name in PICTURES
        for path in sorted((folder / "extremes").glob(f"{name}_*.png"))[:1]
    }
    history = History(folder / "history.csv").read()
    return StageRun(dict(tags), history, read_scores(folder / "cases.csv"), pictures)


def read_scores(path: Path) -> Scores:
    """Read `cases.csv` of an evaluation; empty if there is none."""
    scores: Scores = {}
    if not path.is_file():
        return scores
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            cells = {name: row.get(name) for name in (*METRICS, MISSED)}
            values = {name: float(cell) if cell else None for name, cell in cells.items()}
            scores.setdefault(row["network"], {}).setdefault(row["case_id"], {})[row["class"]] = (
                values
            )
    return scores
