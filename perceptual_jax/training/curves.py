"""The curves of a training, drawn as a picture."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str
) -> UInt8[np.ndarray, "432 720 3"]:
    """Curves over common axes, with a legend.

    Args:
        curves: Points of each curve by its name, ordered by x; points that are not finite are left
            out.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.

    Example:
        >>> draw_curves({"loss": [(0, 4.0), (10, 2.0)]}, x="step", y="bits/dim").shape
        (432, 720, 3)
    """
    # Not through pyplot, which would keep the figure and look for a display.
    canvas = FigureCanvasAgg(figure := Figure((7.2, 4.32), dpi=100, layout="constrained"))
    axes = figure.subplots()
    heights: list[float] = []
    for name, points in curves.items():
        shown = [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]
        steps, values = zip(*shown, strict=True) if shown else ((), ())
        axes.plot(steps, values, marker="." if len(shown) <= 60 else "", label=name)
        heights += values
    # The first losses of a training are far above all others and would flatten the rest.
    if heights and (top := np.quantile(heights, 0.98)) > (low := min(heights)):
        margin = 0.05 * (top - low)
        axes.set_ylim(low - margin, top + margin)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.4)
    if curves:
        axes.legend(loc="upper right")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
