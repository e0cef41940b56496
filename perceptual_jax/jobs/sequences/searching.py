"""The search for one face of one frame: anew, or from the latents of the frame before.

The first frame of a track decides the data term and the size at which its crops are compared, so
that neither jumps from frame to frame. All frames of a track have the key of its number, hence the
same noise maps.
"""

import dataclasses
import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from perceptual_jax.degradation.canvas import on_canvases
from perceptual_jax.degradation.resampling import match_size
from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import to_uint8
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.feed import read_input
from perceptual_jax.jobs.plan import Tools
from perceptual_jax.jobs.reading import restoration_keys
from perceptual_jax.jobs.sequences.memory import Remembered
from perceptual_jax.jobs.sequences.options import warm_config
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.batch import run_batch
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.presets import build_search
from perceptual_jax.restoration.run import latents_of
from perceptual_jax.restoration.search import Search
from perceptual_jax.types import Latents, Status, unknown_header


class Searched(NamedTuple):
    """The result of a search."""

    image: UInt8[np.ndarray, "r r 3"]
    latents: Mapping[str, Float32[np.ndarray, "..."]]
    """See `Remembered`."""
    term: str
    size: int
    status: Status


class Searcher:
    """Searches for faces one at a time; everything is loaded and compiled once."""

    def __init__(self, tools: Tools, *, seed: int, warm: float):
        """Computes nothing yet.

        Args:
            tools: The loaded generator and models.
            seed: The job's seed.
            warm: Fraction of the steps of a search that starts from the frame before; 0 lets none
                start from there.
        """
        self._tools, self._seed, self._fraction = tools, seed, warm
        self._searches = functools.cache(self._build)

    @functools.cached_property
    def _prior(self) -> Prior:
        return default_prior(self._tools.generator, self._tools.config)

    def _build(self, term: str, size: int, warm: bool) -> Search:
        config = dataclasses.replace(self._tools.config, degradation=term)
        if warm:
            config = warm_config(config, self._fraction)
        return build_search(
            config,
            self._tools.generator,
            size,
            prior=self._prior,
            likelihood=self._tools.models(term),
        )

    def __call__(
        self, crop: UInt8[np.ndarray, "n n 3"], track: int, before: Remembered | None
    ) -> Searched:
        """Restores a face.

        Args:
            crop: The face in FFHQ's framing.
            track: Number of its track.
            before: The track's last face; None if this is its first.

        Raises:
            UsageError: If the data term that is asked for does not fit crops.
        """
        if before is None:
            picture, _ = read_input(
                _as_input(crop), self._tools.config, self._tools.generator.resolution
            )
            if isinstance(picture, str):
                raise UsageError(picture)
            term, pixels = picture.header_info.degradation, picture.pixels
            # A JPEG's grid, which one crop may have kept, lies elsewhere in the next.
            term = "blur" if term == "dct_box" else term
        else:
            term, pixels = before.term, match_size(crop, (before.size, before.size))
        given = on_canvases([pixels], [unknown_header()])
        warm = before is not None and before.good and self._fraction > 0
        search = self._searches(term, given.size, warm)
        latents = _start(search, before.latents) if warm and before is not None else None
        keys = restoration_keys([track], [0], seed=self._seed)
        result = run_batch(search, given, keys, latents=latents)
        found = {"styles": result.styles}
        if result.offset is not None:
            found["offset"] = result.offset
        maps = self._tools.config.noise.trainable
        found |= {f"noise{i:02d}": x for i, x in enumerate(result.noise[:maps])}
        return Searched(
            to_uint8(np.asarray(result.image[0])),
            {name: np.asarray(x[0]) for name, x in found.items()},
            term,
            len(pixels),
            Status(int(result.status[0])),
        )


def _start(search: Search, latents: Mapping[str, np.ndarray]) -> Latents:
    """The latents of the frame before, as a batch of one."""
    noise = tuple(jnp.asarray(latents[x]) for x in sorted(latents) if x.startswith("noise"))
    offset = jnp.asarray(latents["offset"]) if "offset" in latents else None
    start = latents_of(search, jnp.asarray(latents["styles"]), offset, noise=noise)
    return jax.tree.map(lambda x: x[None], start)


def _as_input(crop: UInt8[np.ndarray, "n n 3"]) -> Input:
    """A crop as a file in memory, as photographs' crops are files."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "PNG", compress_level=1)
    return Input(Path("crop.png"), "crop", file.getvalue)
