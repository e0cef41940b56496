"""Squared maximum mean discrepancy between the styles of an image and the prior (Eq. 7).

The styles w_1..w_k of one image are treated as a sample, and compared with samples v_1..v_m of the
mapping network, which represent the prior on W:

    mmd2 = mean_ij K(w_i, w_j) + mean_ij K(v_i, v_j) - 2 mean_ij K(w_i, v_j)

Two readings of the paper's kernel, with one bandwidth g (512 in the paper):

    gaussian     K = exp(-|a - b|^2 / g)     what the text names
    laplacian    K = exp(-|a - b| / g)       what Eq. 7 prints

Both are smallest when the styles have the spread of the prior. At g = 512 the laplacian is nearly
linear in the distance, so its values are some ten times smaller and its weight must be larger
accordingly.

In float32 the three means nearly cancel. The code therefore averages K - 1, since the ones cancel
exactly: at k = 18 and g = 512 the laplacian discrepancy is then right to 3e-6 instead of 2e-4.

Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Section 2; the paper's Eq. 6 and 7.
"""

import dataclasses
import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Kernel = Literal["gaussian", "laplacian"]

PAPER_BANDWIDTH = 512.0
FFHQ_MEDIAN: dict[Kernel, float] = {"gaussian": 193.0, "laplacian": 13.9}
"""Median squared distance, and distance, of 1,000 mapped samples of StyleGAN2's FFHQ networks,
whose mapping `mobilestylegan-ffhq` has too."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Statistic:
    """Options of a bank: part of its tree structure, hence static under `jit`."""

    kernel: Kernel
    """`gaussian` or `laplacian`."""
    unbiased: bool
    """Whether means within a sample leave out i = j (the U-statistic)."""


class PriorBank(NamedTuple):
    """Prior samples that styles are compared with, and precomputed values of theirs."""

    samples: Float[Array, "m d"]
    """Mapped prior samples, one in each row."""
    bandwidth: Float[Array, ""]
    """Bandwidth g of the kernel: a squared distance (gaussian) or a distance (laplacian)."""
    self_term: Float[Array, ""]
    """Mean of K(v_i, v_j) - 1 over all pairs i, j."""
    statistic: Statistic
    """Kernel, and whether the means are unbiased."""


def mmd2(
    x: Float[Array, "k d"],
    y: Float[Array, "m d"],
    *,
    kernel: Kernel = "gaussian",
    bandwidth: float | Literal["paper", "median"] = 512.0,
    unbiased: bool = False,
) -> Float[Array, ""]:
    """Squared maximum mean discrepancy between two samples, Eq. 7.

    Differentiable in `x` and `y`, also where points coincide. The options are static under `jit`.

    Args:
        x: First sample, one point in each row.
        y: Second sample. Need not have as many rows as `x`.
        kernel: `gaussian` or `laplacian`, see the top of this file.
        bandwidth: Positive number; "median", the median over pairs of `y` of the squared distance
            (gaussian) or distance (laplacian); or "paper", `paper_bandwidth` of that median.
        unbiased: Leave i = j out of the means within a sample (the U-statistic; it can be negative)
            instead of Eq. 7's means over all k^2 and m^2 pairs (the V-statistic; never negative).

    Returns:
        The discrepancy, without unit, at most 2.

    Raises:
        ValueError: If an option is out of range, or a sample has too few rows for it.

    Source: the paper's Eq. 7; Gretton et al. 2012, Lemma 6 for `unbiased`.

    Example:
        >>> x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
        >>> float(mmd2(x, x))
        0.0
        >>> y = jnp.zeros((1, 2))
        >>> value = mmd2(x, y, kernel="laplacian", bandwidth=5.0)
        >>> round(float(value), 4)  # (2 + 2 / e) / 4 + 1 - 2 (1 + 1 / e) / 2
        0.3161
    """
    return mmd2_to_bank(
        x, make_prior_bank(y, kernel=kernel, bandwidth=bandwidth, unbiased=unbiased)
    )


def make_prior_bank(
    samples: Float[Array, "m d"],
    *,
    kernel: Kernel = "gaussian",
    bandwidth: float | Literal["paper", "median"] = 512.0,
    unbiased: bool = False,
) -> PriorBank:
    """Precomputes the terms of `mmd2` that depend on the prior only, once for all searches.

    Args:
        samples: Mapped prior samples (1,000 in the paper), in the space of the styles.
        kernel: As in `mmd2`.
        bandwidth: As in `mmd2`; "median" and "paper" are taken from `samples`.
        unbiased: As in `mmd2`.

    Raises:
        ValueError: If an option is out of range, or there are too few samples for it.

    Example:
        >>> bank = make_prior_bank(jnp.array([[0.0], [1.0], [3.0]]), bandwidth="median")
        >>> float(bank.bandwidth)  # squared distances 1, 4, 9
        4.0
    """
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be one of {', '.join(get_args(Kernel))}, got {kernel!r}")
    m = samples.shape[0]
    if m < 2 and (unbiased or isinstance(bandwidth, str)):
        raise ValueError(f"unbiased=True and bandwidth='median' need at least 2 samples, got {m}")
    distances = _kernel_distances(_squared_distances(samples, samples), kernel)
    if bandwidth in ("median", "paper"):
        width = jnp.median(distances[jnp.triu_indices(m, k=1)])
        width = paper_bandwidth(width, kernel=kernel) if bandwidth == "paper" else width
    elif isinstance(bandwidth, str) or not 0 < bandwidth < math.inf:
        raise ValueError(
            f"bandwidth must be a positive number, 'median' or 'paper', got {bandwidth!r}"
        )
    else:
        width = jnp.asarray(bandwidth, samples.dtype)
    self_term = _mean_of_pairs(jnp.expm1(-distances / width), unbiased)
    return PriorBank(samples, width, self_term, Statistic(kernel, unbiased))


def paper_bandwidth(median: Float[Array, ""], *, kernel: Kernel) -> Float[Array, ""]:
    """The paper's bandwidth, 512 for generators of FFHQ, scaled to the latents of other generators.

    Args:
        median: Median over pairs of mapped samples of the squared distance (gaussian) or distance
            (laplacian).
        kernel: As in `mmd2`.

    Example:
        >>> widths = [paper_bandwidth(jnp.float32(m), kernel="gaussian") for m in (190, 386)]
        >>> [float(width) for width in widths]
        [512.0, 1024.0]
    """
    ratio = median / FFHQ_MEDIAN[kernel]
    return PAPER_BANDWIDTH * jnp.where(jnp.abs(ratio - 1) < 0.1, 1.0, ratio)


def mmd2_to_bank(styles: Float[Array, "k d"], bank: PriorBank) -> Float[Array, ""]:
    """`mmd2` between styles and a bank: O(k m d), one matrix product.

    Args:
        styles: Any number of styles: a search that fixes some of its styles passes only those
            that it optimises.
        bank: Result of `make_prior_bank`, which determines kernel, bandwidth and statistic.

    Returns:
        The discrepancy, without unit, at most 2.

    Raises:
        ValueError: If styles and bank differ in dimension, or one style is given to the unbiased
            statistic.

    Source: the paper's Eq. 7.

    Example:
        >>> bank = make_prior_bank(jnp.zeros((4, 2)), bandwidth=1.0)
        >>> round(float(mmd2_to_bank(jnp.ones((1, 2)), bank)), 4)  # 1 + 1 - 2 exp(-2)
        1.7293
    """
    kernel, unbiased = bank.statistic.kernel, bank.statistic.unbiased
    k, d = styles.shape
    if d != bank.samples.shape[1]:
        raise ValueError(
            f"styles must have the bank's {bank.samples.shape[1]} dimensions, got {d}: "
            "make the bank with the mapping of the same generator"
        )
    if unbiased and k < 2:
        raise ValueError(f"the unbiased statistic needs at least 2 styles, got {k}")
    within = _mean_of_pairs(kernel_minus_one(styles, styles, kernel, bank.bandwidth), unbiased)
    across = jnp.mean(kernel_minus_one(styles, bank.samples, kernel, bank.bandwidth))
    return within + bank.self_term - 2 * across


def kernel_minus_one(
    x: Float[Array, "a d"], y: Float[Array, "b d"], kernel: Kernel, bandwidth: Float[Array, ""]
) -> Float[Array, "a b"]:
    """K(x_i, y_j) - 1, whose sums with weights that add up to zero are those of K, but precise."""
    return jnp.expm1(-_kernel_distances(_squared_distances(x, y), kernel) / bandwidth)


def _squared_distances(x: Float[Array, "a d"], y: Float[Array, "b d"]) -> Float[Array, "a b"]:
    """|x_i - y_j|^2 by one matrix product; exactly 0, with gradient 0, at equal points.

    At k = 18, m = 1000, d = 512 on a CPU, `mmd2_to_bank` and its gradient take 1 ms; summing
    squared differences takes 200 ms and comes no nearer to float64 (gradient: 5e-7 relative).
    """
    # Distances do not depend on the origin; the error of the product grows with its distance.
    origin = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
    x, y = x - origin, y - origin
    norms = jnp.sum(jnp.square(x), axis=1)[:, None] + jnp.sum(jnp.square(y), axis=1)[None, :]
    # The default precision of accelerators (bfloat16, TF32) would swamp the discrepancy.
    squared = norms - 2 * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    # The remainder at equal points is rounding, up to 5 eps measured for d up to 32768.
    rounding = 16 * jnp.finfo(x.dtype).eps * norms
    return jnp.where(squared <= rounding, 0, squared)


def _kernel_distances(squared: Float[Array, "a b"], kernel: Kernel) -> Float[Array, "a b"]:
    """The numerator of the kernel: squared distance (gaussian) or distance (laplacian)."""
    if kernel == "gaussian":
        return squared
    # sqrt has an infinite slope at 0, and 0 * inf is NaN, so 0 must not reach it.
    equal = squared == 0
    return jnp.where(equal, 0, jnp.sqrt(jnp.where(equal, 1, squared)))


def _mean_of_pairs(values: Float[Array, "a a"], unbiased: bool) -> Float[Array, ""]:
    """Mean over all ordered pairs, or over those with i != j; `values` is 0 where i = j."""
    n = values.shape[0]
    return jnp.sum(values) / (n * (n - 1) if unbiased else n * n)
