"""Two students on their own views: who sees what, and the one voice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medsemi.parts.view_students import ViewStudents
from medsemi.parts.views import FrequencyViews


class Spy(nn.Conv3d):
    """Remembers what it was shown."""

    def forward(self, image: Tensor) -> Tensor:
        self.seen = image
        return super().forward(image)


def test_each_student_sees_its_fixed_view_and_both_answer_with_their_mean() -> None:
    views, image = FrequencyViews(), torch.rand(2, 1, 8, 8, 8)
    low, high = Spy(1, 2, 1), Spy(1, 2, 1)
    students = ViewStudents(low, high, views)
    assert (students.low.network, students.high.network) == (low, high)
    said = students(image)
    for student, view in zip((low, high), views.apply(image, views.fixed(2, 3)), strict=True):
        torch.testing.assert_close(student.seen, view)
    mean = (low(low.seen).softmax(1) + high(high.seen).softmax(1)) / 2
    torch.testing.assert_close(said.softmax(1), mean)


def test_all_three_can_be_deployed() -> None:
    students = ViewStudents(nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), FrequencyViews())
    assert students.networks == {
        "student_low": students.low,
        "student_high": students.high,
        "students": students,
    }
