"""The maps of a result: where it contradicts the input, and where samples differ."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.config import RestoreConfig
from perceptual_jax.degradation.canvas import on_canvases
from perceptual_jax.io.images import read_image, to_float
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.reading import read_picture
from perceptual_jax.jobs.writing import grey, white_of
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.presets import build_search
from perceptual_jax.types import DataTerm, Generator, Given
from perceptual_jax.web.events import Map


def maps_of(
    out: Path,
    record: Record,
    source: Input,
    *,
    config: RestoreConfig,
    generator: Generator,
    prior: Prior,
    of: str = "",
) -> Iterator[Map]:
    """Yields the maps of an aligned crop's result: of its data term, and of the samples' spread.

    A likelihood's map and the spread are those that the job has written.

    Args:
        out: The job's folder.
        record: The record of the result.
        source: The crop.
        config: Config of the search.
        generator: The generator.
        prior: From `default_prior`.
        of: What the labels add, such as the number of a face.
    """
    name = record["name"]
    if (about := record.get("nll_map")) is not None:
        pixels = read_image(out / f"{name}_nll.png")
        yield Map(f"likelihood{of}", pixels, _legend(about["white"], "bits per value"))
    else:
        levels = data_map(out, record, source, config=config, generator=generator, prior=prior)
        white = white_of(levels, least=1.0)
        term = record["degradation"]["term"]
        yield Map(f"data term {term}{of}", grey(levels, white), _legend(white, "of 255 levels"))
    if (about := record.get("spread")) is not None:
        pixels = read_image(out / f"{name}_spread.png")
        yield Map(f"spread{of}", pixels, _legend(255 * about["white"], "of 255 levels"))


def _legend(white: float, unit: str) -> str:
    return f"black is 0, white is {white:.3g} {unit} and more"


def data_map(
    out: Path,
    record: Record,
    source: Input,
    *,
    config: RestoreConfig,
    generator: Generator,
    prior: Prior,
) -> Float[np.ndarray, "h w"]:
    """How far the first result, once degraded, is from each pixel of the crop, in levels of 255.

    Args: as `maps_of`; the record's data term is not a learned one.
    """
    data = config.data
    picture = read_picture(
        source, max_size=data.max_size, degradation=config.degradation, detail=data.detail
    )
    term = record["degradation"]["term"]
    given = on_canvases([picture.pixels], [picture.header_info.header])
    given = jax.tree.map(lambda x: x[0], given)
    search = build_search(
        dataclasses.replace(config, degradation=term), generator, given.size, prior=prior
    )
    image = jnp.asarray(to_float(read_image(out / record["restorations"][0]["image"])))
    squares = _evaluate(search.data_terms[term], given, image)
    side = len(picture.pixels)
    return 255 * np.sqrt(np.asarray(squares)[:side, :side])


@jax.jit
def _evaluate(term: DataTerm, given: Given, image: Float[Array, "r r 3"]) -> Float[Array, "h w"]:
    return term.evaluate(term.prepare(given, image.shape[0]), image)[1]
