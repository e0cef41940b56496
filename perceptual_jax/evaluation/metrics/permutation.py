"""Whether styles could be a sample of the prior: the discrepancy of Eq. 7, tested by permutation.

Under the null hypothesis styles and prior samples are exchangeable, so the discrepancy of the
observed split is compared with that of random splits of all points together.

Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Section 8; Phipson and Smyth,
"Permutation p-values should never be zero", 2010.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from perceptual_jax.prior.mmd import PriorBank, kernel_minus_one


class PriorTest(NamedTuple):
    """The result of `permutation_test`."""

    mmd2: Float[Array, ""]
    """The discrepancy (the V-statistic), without unit, in [0, 2]; lower is closer to the prior."""
    p_value: Float[Array, ""]
    """Probability of a discrepancy at least as large if the styles were samples of the prior."""


def permutation_test(
    styles: Float[Array, "k d"],
    bank: PriorBank,
    key: PRNGKeyArray,
    *,
    permutations: int = 1000,
) -> PriorTest:
    """The discrepancy between styles and prior samples, and its permutation p-value.

    The p-value is (1 + number of splits that are at least as far apart) / (1 + permutations). A
    search moves its styles, so a small value is expected; styles of one tiled vector have the
    smallest, 1 / (1 + permutations).

    Args:
        styles: Styles of one image.
        bank: Prior samples with kernel and bandwidth, of `make_prior_bank`.
        key: Consumed for the permutations.
        permutations: Number of random splits.

    Source: see the top of this file.

    Example:
        >>> from perceptual_jax.prior.mmd import make_prior_bank
        >>> samples = jax.random.normal(jax.random.key(0), (60, 4))
        >>> bank = make_prior_bank(samples[8:], bandwidth="median")
        >>> found = permutation_test(samples[:8] + 9, bank, jax.random.key(1), permutations=99)
        >>> round(float(found.p_value), 4)
        0.01
    """
    k, m = styles.shape[0], bank.samples.shape[0]
    points = jnp.concatenate([styles, bank.samples])
    kernel = kernel_minus_one(points, points, bank.statistic.kernel, bank.bandwidth)
    signs = jnp.concatenate([jnp.full(k, 1 / k), jnp.full(m, -1 / m)])
    shuffled = jax.vmap(lambda one: jax.random.permutation(one, signs))(
        jax.random.split(key, permutations)
    )
    weights = jnp.concatenate([signs[None], shuffled])
    products = jnp.matmul(weights, kernel, precision=jax.lax.Precision.HIGHEST)
    values = jnp.maximum(jnp.sum(products * weights, axis=1), 0)
    # Equal splits differ by rounding only, and count as equal.
    as_far = values[1:] >= values[0] * (1 - 1e-5)
    return PriorTest(values[0], (1 + jnp.sum(as_far)) / (1 + permutations))
