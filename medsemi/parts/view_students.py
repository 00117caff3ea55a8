"""Two students, each on its own view of a window."""

from __future__ import annotations

from typing import cast

from torch import nn

from medsemi.parts.two_networks import NetworkPair
from medsemi.parts.views import FrequencyViews, OnView


class ViewStudents(NetworkPair):
    """The students of the low and of the high view; deployed together they answer with one voice.

    Given a plain window, each looks at its own fixed view. In training a method makes the views and
    shows them to the students' `network`.
    """

    def __init__(self, network: nn.Module, network_high: nn.Module, views: FrequencyViews) -> None:
        """Own both networks, which return logits (batch, classes, *space)."""
        super().__init__(OnView(network, views, "low"), OnView(network_high, views, "high"))

    @property
    def low(self) -> OnView:
        """The student of the low view."""
        return cast(OnView, self.first)

    @property
    def high(self) -> OnView:
        """The student of the high view."""
        return cast(OnView, self.second)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What can be scored and deployed: each student on its own fixed view, and their mean."""
        return {"student_low": self.low, "student_high": self.high, "students": self}
