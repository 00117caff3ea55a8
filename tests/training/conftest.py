"""What several tests of trainings need."""

from __future__ import annotations

import pytest
from ignite.engine import Events
from monai.engines import Trainer


class StopAt:
    """Ends a training with an error, as a full disk would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def attach(self, engine: Trainer) -> None:
        @engine.on(Events.ITERATION_COMPLETED)
        def stop(engine: Trainer) -> None:
            if engine.state.iteration == self.step:
                raise OSError("no space left")


@pytest.fixture
def stop_at() -> type[StopAt]:
    """A handler, made with the step that it ends a training after."""
    return StopAt
