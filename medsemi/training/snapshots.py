"""Weights of the deployed network from the course of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ignite.engine import Events

from medsemi.errors import ConfigError
from medsemi.training.checkpoint import save_weights
from medsemi.training.trainer import SemiSupervisedTrainer


class Snapshots:
    """Exports the deployed network on the way, as `snapshot_1.pt`, `snapshot_2.pt`, ...

    What a case is labeled as by snapshots of one training tells how stable that label is. Shares that
    end with the same step, as in a training of one or two, give one snapshot: two opinions that are
    one would make every label look stable.

    Source: Yang et al., ST++ (CVPR 2022), section 3.3, which takes evenly spaced checkpoints.
    """

    def __init__(self, output_dir: str | Path, shares: Sequence[float] = (1 / 3, 2 / 3)) -> None:
        """Remember when.

        Args:
            output_dir: the run folder.
            shares: of the steps of the training, each between 0 and 1.

        Raises:
            ConfigError: if a share is not between 0 and 1.
        """
        if not all(0 < share < 1 for share in shares):
            raise ConfigError(f"shares are {list(shares)}; each must be between 0 and 1.")
        self.output_dir, self.shares = Path(output_dir), tuple(sorted(shares))

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Export after the step that each share ends with; on the first rank."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)

    def _after_step(self, engine: SemiSupervisedTrainer) -> None:
        due = [max(round(share * engine.steps), 1) for share in self.shares]
        if engine.state.iteration in due and engine.stream.rank == 0:
            number = due.index(engine.state.iteration) + 1
            save_weights(self.output_dir / f"snapshot_{number}.pt", engine.deployed)
