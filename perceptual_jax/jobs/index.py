"""The comparison sheet of a job's folder: each input beside its restorations.

Of photographs it shows the whole ones; their faces are in their folders.

It is drawn from the folder alone (its `results.jsonl` and the pictures that are named there), so it
is also complete after a resumed job, and can be drawn again at any time.
"""

import functools
import itertools
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.evaluation.sheet import MAX_ROWS, contact_sheet
from perceptual_jax.io.bundles import BundleError, read_again
from perceptual_jax.io.files import Place
from perceptual_jax.io.images import ImageError, read_image, reduce_picture, write_png
from perceptual_jax.io.inputs import Input
from perceptual_jax.io.photographs import MAX_WRITTEN
from perceptual_jax.jobs import log
from perceptual_jax.jobs.log import Record, read_lines
from perceptual_jax.jobs.reading import read_picture
from perceptual_jax.jobs.resume import INDEX, RESULTS

MAX_SAMPLES = 8
"""Most samples of a picture that the sheet shows."""

_PHOTOGRAPH = 512
"""Side in pixels of the cells of a sheet with photographs, which are reduced to it at once."""


def write_index(out: Place) -> Place | None:
    """Draws `index.png`: degraded | restored, or degraded | samples | spread, up to 64 rows.

    Args:
        out: Folder of a job.

    Returns:
        The path of the sheet; None, without writing one, if no picture in the folder is restored.

    Raises:
        WriteError: If the file cannot be written.
    """
    path = out / INDEX
    lines = read_lines(out / RESULTS)
    done = list(itertools.islice(filter(_is_shown, lines), MAX_ROWS))
    if not done:
        path.unlink(missing_ok=True)
        return None
    samples = min(max(len(_images(record)) for record in done), MAX_SAMPLES)
    headings = ["degraded", "restored"]
    if samples > 1:
        headings = ["degraded", *[f"sample {i}" for i in range(samples)], "spread"]
    maps = any("nll_map" in record for record in done)
    if maps:
        headings.append("bits/dim: where it contradicts")
    rows = [_row(out, record, samples, maps) for record in done]
    captions = [_caption(record) for record in done]
    cell = _PHOTOGRAPH if any("photograph" in record for record in done) else 256
    sheet = contact_sheet(rows, headings=headings, captions=captions, cell=cell)
    write_png(path, np.asarray(sheet), kind="sheet")
    return path


def _is_shown(record: Record) -> bool:
    return bool(_images(record)) and "/" not in record["name"]


def _images(record: Record) -> list[str]:
    """The names of the restored pictures of a record."""
    if "photograph" in record:
        return record["images"]
    return [one["image"] for one in record.get("restorations", ())]


def _row(
    out: Place, record: Record, samples: int, maps: bool
) -> list[UInt8[np.ndarray, "h w 3"] | None]:
    whole = "photograph" in record
    images = [_restored(out / image, whole=whole) for image in _images(record)[:samples]]
    images += [None] * (samples - len(images))
    if "spread" in record:
        images.append(_restored(out / f"{record['name']}_spread.png"))
    elif samples > 1 and maps:
        images.append(None)
    if "nll_map" in record:
        images.append(_restored(out / f"{record['name']}_nll.png"))
    return [_degraded(record), *images]


def _restored(path: Place, *, whole: bool = False) -> UInt8[np.ndarray, "h w 3"] | None:
    try:
        if whole:
            return reduce_picture(read_image(path, max_pixels=MAX_WRITTEN), _PHOTOGRAPH)
        return read_image(path)
    except ImageError:
        return None


def _degraded(record: Record) -> UInt8[np.ndarray, "h w 3"] | None:
    """The input as the search got it; None if it can no longer be read."""
    path = log.input_path(record)
    source = Input(Path(path), record["name"], functools.partial(read_again, path))
    try:
        if "photograph" in record:
            return reduce_picture(read_image(path, data=source.read_bytes()), _PHOTOGRAPH)
        return read_picture(source, max_size=record["input"]["restored_from"][0]).pixels
    except (ImageError, BundleError, OSError):
        return None


def _caption(record: Record) -> str:
    if "photograph" in record:
        return f"{record['name']} · {record['message']}"
    psnr = record["restorations"][0]["consistency_psnr"]
    consistency = "" if psnr is None else f" · consistency {psnr:.1f} dB"
    status = "" if record["status"] == "OK" else f" · {record['message']}"
    bits = f" · {record['nll_map']['mean']:.2f} bits/dim" if "nll_map" in record else ""
    return f"{record['name']}{consistency}{bits}{status}"
