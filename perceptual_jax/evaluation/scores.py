"""The scores of one restored picture in the metrics of `metric_list`.

Metrics that compare with the original do so at one size, 256 px of the shorter side unless told
otherwise, to which both pictures are reduced by means of pixels: LPIPS depends on the size, and the
numbers of this project's documents are of that size. Those without an original see the picture at
its own size.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from perceptual_jax.checkpoints.measures import load_measure
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.metrics import perceptual
from perceptual_jax.evaluation.metrics.brisque import Regression, brisque
from perceptual_jax.evaluation.metrics.consistency import consistency
from perceptual_jax.evaluation.metrics.identity import FaceDescriptor, identity_distance
from perceptual_jax.evaluation.metrics.landmarks import landmark_distance, landmarks_of
from perceptual_jax.evaluation.metrics.metric_list import METRICS, RANK_VGG, check_metrics
from perceptual_jax.evaluation.metrics.niqe import Pristine, niqe
from perceptual_jax.evaluation.metrics.rank_vgg import load_head, rank_vgg, rank_vgg_resized
from perceptual_jax.evaluation.metrics.rankiqa import Opinion, rankiqa, rankiqa_resized
from perceptual_jax.evaluation.metrics.sets import frechet_distance, kernel_distance
from perceptual_jax.evaluation.metrics.similarity import ms_ssim, psnr, ssim
from perceptual_jax.io.images import to_float
from perceptual_jax.photographs.detection.nets import ONet
from perceptual_jax.types import JpegHeader, unknown_header

VERSION = 2
"""Version of the scores: those that another version computed are not used again."""

SIZE = 256
"""Pixels of the shorter side at which pictures are compared with their originals."""


_RANKIQA = {"rankiqa": jax.jit(rankiqa), "rankiqa_256": jax.jit(rankiqa_resized)}
_RANK_VGG = {"rank_vgg": jax.jit(rank_vgg), "rank_vgg_256": jax.jit(rank_vgg_resized)}
_SETS = {"kid": kernel_distance, "fid": frechet_distance}
Pixels = UInt8[np.ndarray, "_ _ 3"]


class Subject(NamedTuple):
    """A restored picture and what it is compared with."""

    restored: Pixels
    original: Pixels | None = None
    degraded: Pixels | None = None
    header: JpegHeader = unknown_header()
    """The header of the degraded picture, if that is a JPEG."""


class Scored(NamedTuple):
    """The scores of one picture."""

    scores: dict[str, float]
    """By metric; NaN or infinite where the metric has no value."""
    features: dict[str, Float[np.ndarray, "2 d"]]
    """Pooled features of the restored picture and of its original, by network."""
    refused: dict[str, str]
    """Reasons, by metric, why a picture has no score."""


class Scorer:
    """Computes the scores of pictures, one at a time; holds the networks.

    Programs are compiled for each size of picture.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        *,
        size: int = SIZE,
        load: Callable[[str], Mapping[str, np.ndarray]] = load_measure,
    ):
        """Loads what the metrics need.

        Args:
            metrics: Names of `METRICS`.
            size: Pixels of the shorter side for comparisons with the original.
            load: Loads the arrays of a measure.

        Raises:
            UsageError: If a metric is unknown, the size is not positive, or one is asked for that
                needs onnxruntime, which is not installed.
            WeightsError: If a network or parameters cannot be fetched.
        """
        check_metrics(metrics)
        if size < 1:
            raise UsageError(f"size must be at least 1 pixel, got {size}")
        self.metrics, self.size = tuple(metrics), size
        needed = [METRICS[name].measure for name in metrics]
        loaded: dict[str, Any] = {name: load(name) for name in dict.fromkeys(needed) if name}
        networks: dict[perceptual.Network, Mapping[str, Array]] = {
            network: jax.device_put(dict(loaded[f"lpips-{network}"]))
            for network in ("alex", "vgg")
            if f"lpips-{network}" in loaded
        }
        compared = {
            METRICS[name].measure
            for name in metrics
            if METRICS[name].needs in ("original", "originals")
        }
        self._networks: dict[perceptual.Network, Mapping[str, Array]] = {
            network: arrays
            for network, arrays in networks.items()
            if f"lpips-{network}" in compared
        }
        self._vgg = networks.get("vgg")
        self._head = jax.device_put(load_head()) if {*RANK_VGG} & {*metrics} else None
        self._pristine = Pristine(**loaded["niqe"]) if "niqe" in loaded else None
        self._regression = Regression(**loaded["brisque"]) if "brisque" in loaded else None
        self._rankiqa = jax.device_put(dict(loaded["rankiqa"])) if "rankiqa" in loaded else None
        self._faces = FaceDescriptor(loaded["sface"]["onnx"]) if "sface" in loaded else None
        self._onet = ONet(loaded["onet"]["onnx"]) if "onet" in loaded else None

    def score(self, subject: Subject) -> Scored:
        """The scores of one picture in all metrics for which it has what they need.

        Raises:
            ValueError: If the pictures are of different proportions.
        """
        found = Scored({}, {}, {})
        restored = _floats(subject.restored)
        self._try(found, "niqe", lambda: niqe(restored, self._pristine))
        self._try(found, "brisque", lambda: brisque(restored, self._regression))
        for name, opinion_of in _RANKIQA.items():
            # One key: pictures of one size are seen at the same places, as a pair should be.
            self._rank(
                found, name, lambda f=opinion_of: f(self._rankiqa, restored, jax.random.key(0))
            )
        for name, opinion_of in _RANK_VGG.items():
            self._rank(found, name, lambda f=opinion_of: f(self._vgg, self._head, restored))
        if subject.degraded is not None:
            degraded, header = _floats(subject.degraded), subject.header
            _require_proportions(subject.restored, subject.degraded, "input")
            self._try(found, "consistency", lambda: consistency(restored, degraded, header))
        if subject.original is not None:
            both = (subject.restored, subject.original)
            self._try(found, "identity", lambda: self._identity(*both))
            self._try(found, "landmarks", lambda: self._landmarks(*both))
            a, b = map(_floats, at_one_size(subject.restored, subject.original, self.size))
            self._try(found, "psnr", lambda: psnr(a, b))
            self._try(found, "ssim", lambda: ssim(a, b))
            self._try(found, "ms_ssim", lambda: ms_ssim(a, b))
            for network, parameters in self._networks.items():
                self._compare(found, network, parameters, a, b)
        return found

    def _rank(self, found: Scored, mean: str, opinion_of: Callable[[], Opinion]) -> None:
        """The mean and the median over patches, if one of them is wanted."""
        names = (mean, f"{mean}_median")
        if not {*names} & {*self.metrics}:
            return
        try:
            scores = zip(names, opinion_of(), strict=True)
        except ValueError as error:  # A picture that is smaller than a patch.
            found.refused.update({name: str(error) for name in names})
            return
        found.scores.update({name: float(v) for name, v in scores if name in self.metrics})

    def _identity(self, a: Pixels, b: Pixels) -> float:
        assert self._faces is not None
        return identity_distance(self._faces.describe(a), self._faces.describe(b))

    def _landmarks(self, restored: Pixels, original: Pixels) -> float:
        assert self._onet is not None
        return landmark_distance(*(landmarks_of(x, self._onet) for x in (restored, original)))

    def _try(self, found: Scored, name: str, compute: Callable[[], Any]) -> None:
        if name not in self.metrics:
            return
        try:
            found.scores[name] = float(compute())
        except ValueError as error:  # A picture that is too small for the metric.
            found.refused[name] = str(error)

    def _compare(
        self,
        found: Scored,
        network: perceptual.Network,
        parameters: Mapping[str, Array],
        a: Float[Array, "h w 3"],
        b: Float[Array, "h w 3"],
    ) -> None:
        name = f"lpips_{network}"
        try:
            distance, features = _perceptual(parameters, a, b, network)
        except ValueError as error:
            found.refused[name] = str(error)
            return
        if name in self.metrics:
            found.scores[name] = float(distance)
        found.features[network] = np.asarray(features)


def set_distance(name: str, features: Sequence[Mapping[str, np.ndarray]]) -> float | None:
    """The distance of a set of restored pictures to their originals; None for fewer than two.

    Args:
        name: A metric that needs `originals`.
        features: The features of each picture, as in `Scored`.
    """
    kind, network = name.split("_")
    pairs = [each[network] for each in features if network in each]
    if len(pairs) < 2:
        return None
    x, y = np.stack(pairs, axis=1)
    return float(_SETS[kind](jax.device_put(x), jax.device_put(y)))


def at_one_size(a: Pixels, b: Pixels, size: int) -> tuple[Pixels, Pixels]:
    """Both pictures reduced to `size` pixels of the shorter side, or to the smaller one's.

    Raises:
        ValueError: If their proportions differ.
    """
    _require_proportions(a, b, "original")
    size = min(size, *a.shape[:2], *b.shape[:2])
    reduced = _reduced(a, size), _reduced(b, size)
    height, width = (min(n, m) for n, m in zip(*(x.shape[:2] for x in reduced), strict=True))
    return reduced[0][:height, :width], reduced[1][:height, :width]  # rounded to one pixel more


def _floats(image: Pixels) -> Float[Array, "h w 3"]:
    return jnp.asarray(to_float(image))


def _require_proportions(a: Pixels, b: Pixels, what: str) -> None:
    """Refuses pictures that differ by more than the rounding of their sides."""
    (h, w), (h2, w2) = a.shape[:2], b.shape[:2]
    if abs(h * w2 - w * h2) > max(h, w, h2, w2):
        raise ValueError(
            f"it has {w} x {h} pixels and its {what} {w2} x {h2}: pictures of other proportions "
            "cannot be compared"
        )


def _reduced(image: Pixels, size: int) -> Pixels:
    height, width, _ = image.shape
    scale = size / min(height, width)
    if scale == 1:
        return image
    shape = (max(round(width * scale), size), max(round(height * scale), size))
    return np.array(Image.fromarray(image).resize(shape, Image.Resampling.BOX))


@functools.partial(jax.jit, static_argnames="network")
def _perceptual(
    parameters: Mapping[str, Array],
    a: Float[Array, "h w 3"],
    b: Float[Array, "h w 3"],
    network: perceptual.Network,
) -> tuple[Float[Array, ""], Float[Array, "2 d"]]:
    """LPIPS and the pooled features of both pictures, in one pass of the network."""
    found = [perceptual.layers(parameters, image, network=network) for image in (a, b)]
    pooled = jnp.stack([perceptual.pool_layers(each) for each in found])
    return perceptual.compare_layers(parameters, *found), pooled
