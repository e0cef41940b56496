"""The parts of the page that change while a picture is restored, as HTML.

All text that comes from users and files is escaped here.
"""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.io.images import reduce_picture
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.pages.embedding import encode
from perceptual_jax.web.events import Event, Forming, Map, Note, Waiting
from perceptual_jax.web.restoring import Look

_LOOK = 320
"""Shorter side in pixels of the chosen picture."""

_MAP = 512


def duration(seconds: float) -> str:
    """A duration in words, roughly.

    Example:
        >>> duration(3.2), duration(64), duration(200)
        ('a few seconds', 'a minute', '3 minutes')
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 45:
        return f"{round(seconds, -1):.0f} seconds"
    minutes = round(seconds / 60)
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def look_html(look: Look) -> str:
    """The chosen picture and what is known of it."""
    pixels = reduce_picture(look.pixels, _LOOK)
    small = max(pixels.shape) <= _LOOK
    return (
        f'<figure class="pj-look">{_image(pixels, "the chosen picture", sharp=small)}'
        f"<figcaption>{escape(look.text)}</figcaption></figure>"
    )


def refusal_html(message: str) -> str:
    """Why something cannot be done."""
    sentence = message[:1].upper() + message[1:]
    return f'<p class="pj-refused" role="alert">{escape(sentence)}.</p>'


def event_html(event: Event) -> str:
    """What happens now; nothing any more with the outcome."""
    if isinstance(event, Waiting):
        others = "one request comes" if event.ahead == 1 else f"{event.ahead} requests come"
        return busy_html(f"Waiting: {others} first.")
    if isinstance(event, Note):
        return busy_html(event.text)
    if isinstance(event, Forming):
        text = f"Step {event.step} of {event.steps}"
        if event.seconds_left is not None:
            text += f", {duration(event.seconds_left)} left"
        drafts = "".join(_image(draft, "the picture as it forms") for draft in event.drafts)
        return busy_html(text, event.share) + f'<div class="pj-forming">{drafts}</div>'
    return ""


def busy_html(text: str, share: float | None = None) -> str:
    """What is being done, with a bar of the share that is done, if that is known."""
    value = "" if share is None else f' value="{share:.3f}"'
    return (
        f'<p class="pj-now" role="status">{escape(text)}</p>'
        f'<progress class="pj-bar" aria-label="progress"{value}></progress>'
    )


def maps_html(maps: Sequence[Map]) -> str:
    """The maps with what their greys mean; nothing if there are none."""
    figures = "".join(
        f"<figure>{_image(reduce_picture(one.pixels, _MAP), one.label + ' map', sharp=True)}"
        f"<figcaption><b>{escape(one.label)}</b>: {escape(one.legend)}</figcaption></figure>"
        for one in maps
    )
    return f'<div class="pj-maps">{figures}</div>' if maps else ""


def facts_html(record: Record) -> str:
    """What was done and how well the result agrees with the input, by its record."""
    rows = list(_facts(record))
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f'<dl class="pj-facts">{inside}</dl>'


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    if record["status"] != "OK" or "photograph" in record:
        yield "result", record["message"]
    width, height = record["input"]["size"]
    yield "input", f"{width} x {height} pixels"
    for note in record["input"]["notes"]:
        yield "note", note
    for face in record.get("restored_faces", [record]):
        number = face["name"].rpartition("/face-")[2]
        of = f", face {number}" if "photograph" in record else ""
        term = face["degradation"]
        yield f"data term{of}", f"{term['term']}: {term['reason']}"
        first = face["restorations"][0]
        if (level := first["consistency_psnr"]) is not None:
            yield f"agreement{of}", f"{level:.1f} dB of the degraded result with the input"
        if (fitted := first.get("fitted")) is not None:
            blur, noise = fitted["blur"], fitted["noise"]
            yield f"fitted{of}", f"a blur of {blur:.2g} pixels, noise of {noise:.2g} levels"
    for face in record.get("photograph", {}).get("faces", []):
        if face["skipped"] is not None:
            yield f"face {face['number']}", f"left as it is: {face['skipped']}"


def _image(pixels: UInt8[np.ndarray, "h w 3"], alt: str, *, sharp: bool = False) -> str:
    small = max(pixels.shape) <= _LOOK
    address = encode(pixels, "png" if sharp and small else "jpeg")
    kind = ' class="pj-sharp"' if sharp else ""
    return f'<img{kind} src="{address}" alt="{escape(alt)}">'
