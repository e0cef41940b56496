"""Comparison sheets: images in rows and columns, to judge restorations by eye.

Small images are enlarged without smoothing, so that the pixels given to the restoration are
visible; large ones are reduced with a Lanczos filter. Pillow draws the sheet, because matplotlib
would resample the pixels once more.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

MAX_ROWS = 64
"""Most rows of a sheet, because viewers fail on very tall images."""

_PAPER = "#ffffff"
_EMPTY = "#eeeeee"
_INK = "#202020"
_FAINT = "#707070"


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"] | None]],
    *,
    headings: Sequence[str],
    captions: Sequence[str] = (),
    cell: int = 256,
) -> Image.Image:
    """A grid of images with a heading over each column and a line of text under each row.

    Args:
        rows: The images of each row, of any sizes; None or a short row leaves cells empty. The
            first `MAX_ROWS` rows are shown.
        headings: The heading of each column.
        captions: The caption of each row, or nothing; captions that are too long are truncated.
        cell: Side in pixels of the square that each image is fitted into.

    Raises:
        ValueError: If there is no row or column, a row is longer than `headings`, or captions do
            not match the rows.

    Example:
        >>> black = np.zeros((32, 32, 3), np.uint8)
        >>> sheet = contact_sheet([[black, black]], headings=["degraded", "restored"], cell=64)
        >>> sheet.mode, sheet.width > 128
        ('RGB', True)
    """
    columns = len(headings)
    if not rows or not columns or max(map(len, rows)) > columns:
        raise ValueError(
            f"a sheet needs rows of at most {columns} images (one per heading), "
            f"got {[len(row) for row in rows[:MAX_ROWS]]}"
        )
    if captions and len(captions) != len(rows):
        raise ValueError(f"captions must be one per row, got {len(captions)} for {len(rows)} rows")
    rows = rows[:MAX_ROWS]
    margin, gap = cell // 10, cell // 32 + 1
    heading_font = ImageFont.load_default(max(cell / 14, 10))
    caption_font = ImageFont.load_default(max(cell / 18, 9))
    heading_height = _line_height(heading_font)
    row_height = cell + gap + (_line_height(caption_font) + gap if captions else 0)
    width = columns * (cell + gap) - gap
    height = heading_height + len(rows) * row_height - gap
    sheet = Image.new("RGB", (width + 2 * margin, height + 2 * margin), _PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [margin + column * (cell + gap) for column in range(columns)]
    for left, heading in zip(lefts, headings, strict=True):
        text = _fitted(heading, cell, heading_font)
        draw.text((left + cell / 2, margin), text, _INK, heading_font, anchor="ma")
    for index, row in enumerate(rows):
        top = margin + heading_height + index * row_height
        for column, left in enumerate(lefts):
            _paste(sheet, row[column] if column < len(row) else None, left, top, cell)
        if captions:
            text = _fitted(captions[index], width, caption_font)
            draw.text((margin, top + cell + gap / 2), text, _FAINT, caption_font)
    return sheet


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return round(1.5 * (font.getbbox("Ag")[3]))


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text on one line, ending in an ellipsis where it is wider than `width`."""
    # Names of files that are no text, as where the locale is ASCII, have lone surrogates.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _paste(
    sheet: Image.Image, pixels: UInt8[np.ndarray, "_ _ 3"] | None, left: int, top: int, cell: int
) -> None:
    if pixels is None:
        sheet.paste(_EMPTY, (left, top, left + cell, top + cell))
        return
    image = Image.fromarray(pixels)
    scale = cell / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    offset = (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2)
    sheet.paste(image.resize(size, resample), offset)
