"""The settings of a restoration: frozen dataclasses; `config_files` reads and writes them.

Order of precedence: the defaults here < a TOML file < the command line. Everything is plain
Python and hashable, so a config can be a static argument of `jax.jit`, and it is checked whenever
it is built.

The defaults are written down here and nowhere else, each with its reading of the paper (Han, Duan,
Tao, Lu): quotations are the paper's, with the section in brackets; PULSE is Menon et al. 2020;
values marked as ours or measured are in neither.
"""

import dataclasses
from typing import Annotated, Literal

from perceptual_jax.validation import (
    Checked,
    Count,
    NonNegative,
    Positive,
    Range,
    Share,
    Size,
)

Schedule = Literal["one_cycle_drop", "one_cycle", "fixed", "warmup_cosine"]
"""See `restoration.optimizer.learning_rate_factor`."""

MIN_SIZE = 4
"""Smallest side of an input in pixels; a smaller one does not constrain a face."""


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
    """The data term: how far the restored image is from degrading to the given one."""

    downscale: Literal["bicubic", "area"] = "bicubic"
    """Filter of the downscale: PULSE's antialiased cubic (a = -0.5), or the mean over areas. The
    paper does not name it (4.2: "the same method")."""
    weight: NonNegative = 300.0
    """Weight of the mean squared error (of images in [0, 1]) on the draft. PULSE: 100; measured:
    more faithful and not less natural at 300."""
    floor: NonNegative = 0.0
    """Smallest value of the term that still has a gradient (PULSE's eps: 2e-3). The paper sets no
    threshold and runs all steps (4.1)."""
    box_width: Share = 0.25
    """Width of a JPEG's box as a fraction of its steps: at 0 the decoded picture's blocks are
    copied, at 1 the box says nothing inside. Measured."""
    nll_weight: NonNegative = 10.0
    """Weight of the bits/dim under a learned likelihood: the paper's "pixelcnn coefficient" (1, 10
    and 50 in its Table 2)."""
    min_log_scale: Annotated[float, Range(-10, 0)] = -5.0
    """Lower bound of the likelihood's log-scales in a search. Ours: bounds the gradient of single
    pixels."""
    nll_rows: Size = 2
    """Stride of the rows on which the likelihood is evaluated. Ours: every second row constrains a
    search nearly as much in half the time."""
    low_size: Size = 64
    """Side in pixels at which the squared error is taken when there is a likelihood. Ours: it
    constrains colour and brightness of large areas, to which a likelihood is insensitive."""
    condition_size: Count = 0
    """Side in pixels to which the restored image is resized for the likelihood (the paper: 256)
    before it is resized to the degraded image's size; 0 resizes it to that size directly."""
    max_size: Annotated[int, Range(MIN_SIZE)] = 512
    """Larger inputs are reduced to this side in pixels before the search."""
    detail: Literal["auto"] | Count = "auto"
    """Side in pixels at which the detail of the inputs fills the pixels; larger ones are reduced to
    it, since a search would copy the blur of an enlarged picture. `auto` estimates it for each
    input, unless a JPEG's grid or a learned likelihood is asked for; 0 never reduces."""


@dataclasses.dataclass(frozen=True)
class PriorConfig(Checked):
    """The prior: the search space, the start, the sphere, and the prior terms."""

    space: Literal["w", "whitened"] = "w"
    """W itself, "we optimize the latent code in W space directly" (4.1), or W made Gaussian
    (PULSE: an inverse leaky ReLU, then standardised)."""
    covariance: Literal["diagonal", "full"] = "diagonal"
    """Covariance of the whitening: PULSE's per-coordinate deviations, or the full matrix."""
    start: Literal["mean", "random"] = "mean"
    """The mean of W for every style, "initializes from the mean embedding of W" (4.1), or an
    independent prior draw for each."""
    spread: Share = 0.0
    """Moves a mean start this fraction towards a random prior draw, so that samples differ."""
    tile: bool = False
    """With a random start, one draw for all styles."""
    sphere: Literal["none", "initial", "expected"] | Positive = "initial"
    """Every style stays at its initial norm, at the prior's mean norm, at a number, or is free. "We
    keep the spherical gradient descent" (4.1) is read as PULSE's class reused: from the mean start
    the radius is |w_mean|."""
    cross_weight: NonNegative = 0.05
    """Weight of PULSE's geodesic cross loss: "and the cross loss" (4.1), with PULSE's weight."""
    mmd_weight: NonNegative = 20.0
    """Weight of the squared MMD between the styles and the prior bank. The paper names none;
    measured: identity and naturalness balance at 20."""
    kernel: Literal["gaussian", "laplacian"] = "gaussian"
    """exp(-d^2 / bandwidth), the text's "Gaussian kernel" (3.1), or the printed Eq. 7:
    exp(-d / bandwidth)."""
    bandwidth: Literal["paper", "median"] | Positive = "paper"
    """The paper's 512, "we set the bandwidth to 512" (4.1), read as a squared distance. It
    holds for FFHQ's generators and is scaled with the latents of others. Or the median over the
    bank of the distance that the kernel divides, or a number."""
    unbiased: bool = False
    """U-statistic instead of the printed V-statistic."""
    bank_size: Annotated[int, Range(2)] = 1000
    """Mapped prior samples the styles are compared with: "we take 1000 samples" (4.1)."""


@dataclasses.dataclass(frozen=True)
class NoiseConfig(Checked):
    """The generator's noise inputs during the search."""

    mode: Literal["const", "random", "none"] = "const"
    """The generator's own maps, one draw per image, or zeros."""
    trainable: Count = 0
    """How many of the coarsest maps the search moves, each on its own sphere (PULSE: 5)."""
    zero_last: bool = False
    """Set the finest map to zero (PULSE)."""


@dataclasses.dataclass(frozen=True)
class SearchConfig(Checked):
    """The search on drafts."""

    steps: Count = 100
    """Steps on the drafts, the coarse ones included: "run 100 steps for all test images" (4.1).
    Measured: after 60 the features have to do what styles could, and textures break."""
    learning_rate: Positive = 0.1
    """Peak of Adam's learning rate; not in the paper. PULSE's 0.4 is in whitened units."""
    schedule: Schedule = "one_cycle_drop"
    """Learning rate over all `steps`: PULSE's schedules, or a warm-up and a cosine."""
    draft: Count = 256
    """Largest resolution of the drafts that the search renders, ours. 0 searches at the generator's
    full resolution throughout."""
    coarse: Size = 128
    """Resolution of the first steps, ours; of all of them for inputs of a quarter of it or less."""
    coarse_fraction: Share = 1.0
    """Fraction of `steps` taken at `coarse`. The features, which move later, need the finer draft;
    without them 0.6 was measured to be as faithful as 256 px throughout."""


@dataclasses.dataclass(frozen=True)
class FeaturesConfig(Checked):
    """The features that move beside the styles, once the search on drafts has found a face.

    They make it the person. All of this is ours; the paper searches styles only.
    """

    resolution: Literal["auto"] | Count = "auto"
    """Pixels of a side of the features that move; 0 moves none. `auto` is 16, or 32 for JPEGs
    of more than 64 px and other pictures of more than 256; at most half the input's side."""
    weight: NonNegative = 20.0
    """Weight of their prior, the mean square in standard deviations. At 0.01 textures break; from 3
    to 30 fidelity stays and naturalness improves."""
    learning_rate: Positive = 0.05
    """Peak of Adam's learning rate, in standard deviations of the features."""
    steps: Count = 50
    """Steps on drafts before the finish."""
    correct_every: Size = 10
    """Steps between two corrections of the draft by the true picture; must divide `steps`."""


@dataclasses.dataclass(frozen=True)
class FinishConfig(Checked):
    """The last steps, at full resolution, with a heavier data term."""

    steps: Count = 30
    """Steps after the search; 0 renders the result of the search. Ours: they recover detail that
    drafts lack."""
    learning_rate: Positive = 0.02
    """Peak of Adam's learning rate of the styles, here and where features move on drafts."""
    schedule: Schedule = "warmup_cosine"
    """Learning rate over `steps`."""
    sphere: bool = False
    """Whether styles stay on the sphere of the search, here and where features move on drafts."""
    project: bool = True
    """Whether the last picture is moved to what the input says: a downscaled one's pixels, the bins
    of a JPEG's coefficients, or, of unknown damage, what a Wiener filter finds in the residual.
    `fidelity` below 0.5 moves it less."""
    data_weight: NonNegative = 1000.0
    """Weight of the data term in place of `data.weight`. Measured: 300 is less faithful and no more
    natural, 3000 smoother."""
    nll_weight: NonNegative = 30.0
    """Weight of the likelihood in place of `data.nll_weight`."""


@dataclasses.dataclass(frozen=True)
class RestoreConfig(Checked):
    """Everything that decides what a restoration looks like."""

    generator: str = "mobilestylegan-ffhq"
    """A name of `perceptual-jax weights list`, or the path of a converted file."""
    generator_class: Literal["none"] | Count = "none"
    """The class of a conditional generator, from 0."""
    fidelity: Share = 0.5
    """0 = natural, 1 = faithful: scales the data weights by 1/4 to 4 and the steps of the finish
    by 1/2 to 2; 0.5 leaves them as they are."""
    degradation: str = "auto"
    """How the inputs degraded: `l2` (downscaled), `dct_box` (a JPEG with a header), `blur` (a blur
    and noise that the search fits), `faded` (colours, too), `jpeg` or `blind` (learned), the path
    of a trained model; or `auto`, which inspects each input: sharp small ones get `l2`, sharp JPEGs
    with readable tables `dct_box`, others `blur`, or `faded` if they have little contrast."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the generator's activations; latents, optimiser and losses stay float32."""
    data: DataConfig = DataConfig()
    prior: PriorConfig = PriorConfig()
    noise: NoiseConfig = NoiseConfig()
    search: SearchConfig = SearchConfig()
    features: FeaturesConfig = FeaturesConfig()
    finish: FinishConfig = FinishConfig()
