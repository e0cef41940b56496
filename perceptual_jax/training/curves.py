"""Curves as a picture, drawn with Pillow alone: how a training went, at a glance."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

SIZE = (720, 432)
MARGIN = (64, 16, 24, 40)
"""Left, top, right, bottom."""
COLOURS = ("#1f6fb4", "#d1572a", "#2f8f4e", "#7d4bb0", "#8a6d1f", "#b03a6a")


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str
) -> UInt8[np.ndarray, "h w 3"]:
    """Curves over common axes, with a legend.

    Args:
        curves: Points of each by its name, in order of x. Points that are not finite are left out.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.

    Example:
        >>> draw_curves({"loss": [(0, 4.0), (10, 2.0)]}, x="step", y="bits/dim").shape
        (432, 720, 3)
    """
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    shown = {
        name: [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]
        for name, points in curves.items()
    }
    points = [point for curve in shown.values() for point in curve] or [(0.0, 0.0)]
    across = _ticks([a for a, _ in points])
    # The first losses of a training are far above all others and would flatten the rest.
    up = _ticks(sorted(b for _, b in points)[: max(2, math.ceil(0.98 * len(points)))])
    left, top, right, bottom = MARGIN
    box = (left, top, SIZE[0] - right, SIZE[1] - bottom)

    def place(a: float, b: float) -> tuple[float, float]:
        h = (a - across[0]) / (across[-1] - across[0])
        v = min(max((b - up[0]) / (up[-1] - up[0]), 0.0), 1.0)
        return box[0] + h * (box[2] - box[0]), box[3] - v * (box[3] - box[1])

    for tick in across:
        at, _ = place(tick, up[0])
        draw.line((at, box[1], at, box[3]), fill="#e4e4e4")
        draw.text((at, box[3] + 4), f"{tick:g}", fill="#444444", anchor="ma")
    for tick in up:
        _, at = place(across[0], tick)
        draw.line((box[0], at, box[2], at), fill="#e4e4e4")
        draw.text((box[0] - 6, at), f"{tick:g}", fill="#444444", anchor="rm")
    draw.rectangle(box, outline="#888888")
    draw.text((box[2], SIZE[1] - 4), x, fill="#222222", anchor="rs")
    draw.text((4, 4), y, fill="#222222", anchor="lt")
    for i, (name, curve) in enumerate(shown.items()):
        colour = COLOURS[i % len(COLOURS)]
        at = [place(a, b) for a, b in curve]
        if len(at) > 1:
            draw.line(at, fill=colour, width=2)
        for h, v in at if len(at) <= 60 else []:
            draw.ellipse((h - 2, v - 2, h + 2, v + 2), fill=colour)
        draw.text((box[2] - 8, box[1] + 8 + 16 * i), name, fill=colour, anchor="ra")
    return np.array(picture)


def _ticks(values: Sequence[float]) -> list[float]:
    """About six round numbers from below the least value to above the largest.

    Example:
        >>> _ticks([0.2, 9.7])
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= 5.5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
