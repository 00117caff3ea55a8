"""Learning curves: validation Dice over student steps, and over minutes of training."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

from medsemi.comparison.records import CurvePoint, Record

# Distinguishable with color-vision deficiency (Okabe and Ito); the style of the line tells seeds apart.
COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d00")
STYLES = ("-", "--", ":", "-.")
# One fewer than colors: more methods than either still differ.
MARKERS = "osD^vP*"


def draw_curves(records: Sequence[Record]) -> bytes:
    """Draw both charts side by side as one SVG picture; a line per training."""
    import matplotlib as mpl  # noqa: PLC0415  (slow to import)
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Sequence[Callable[[CurvePoint], float]] = (lambda p: p.step, _minutes)
    charts = zip(
        figure.subplots(1, 2, sharey=True), ("student steps", "minutes"), axes, strict=True
    )
    methods = list(dict.fromkeys(record.method for record in records))
    for chart, label, horizontal in charts:
        for record in records:
            number = methods.index(record.method)
            first = record is next(r for r in records if r.method == record.method)
            chart.plot(
                [horizontal(point) for point in record.curve],
                [point.dice for point in record.curve],
                color=COLORS[number % len(COLORS)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=4,
                linestyle=STYLES[
                    sorted({r.seed for r in records}).index(record.seed) % len(STYLES)
                ],
                label=record.method if first else None,
            )
        chart.set_xlabel(label)
        chart.grid(alpha=0.3)
    figure.axes[0].set_ylabel("validation Dice")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    picture = io.BytesIO()
    # The same records give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "medsemi"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _minutes(point: CurvePoint) -> float:
    return math.nan if point.seconds is None else point.seconds / 60
