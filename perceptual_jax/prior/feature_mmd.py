"""The paper's discrepancy for features: columns of one picture against those of prior samples.

The columns of features (the vectors at each position) in one cell of a coarse grid are treated as a
sample, and compared with the columns that prior samples have in the same cell. The mean embedding
of the prior is kept as a vector of random Fourier features, so the bank is no larger than that:

    mmd2  =  mean over cells | mean_{u in cell} phi(x_u) - mu_cell |^2
    phi(x) = sqrt(2 / D) cos(Omega x + b),     Omega ~ N(0, 2 / g),  b ~ U(0, 2 pi)

whose inner product approximates the Gaussian kernel exp(-|x - y|^2 / g). The columns of one picture
are few and alike, so natural pictures have a positive discrepancy. What natural pictures have costs
nothing: the term is hinged at a quantile over prior samples.

Source: Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", 2007; Gretton et al.,
"A Kernel Two-Sample Test", 2012.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class FeatureBank(NamedTuple):
    """The mean embeddings of prior samples' columns, cell by cell."""

    frequencies: Float[Array, "c f"]
    """Omega."""
    phases: Float[Array, " f"]
    """b."""
    means: Float[Array, "g g f"]
    """Mean of phi over the columns of each cell."""
    natural: Float[Array, ""]
    """The discrepancy that prior samples exceed in one case of ten."""


def make_feature_bank(
    features: Float[Array, "n r r c"],
    *,
    key: Key[Array, ""],
    grid: int = 4,
    frequencies: int = 1024,
) -> FeatureBank:
    """Embeds the columns of prior samples.

    The bandwidth g is the median of the squared distance between columns of a cell.

    Args:
        features: Features of prior samples in standard deviations, see `sample_features`; half of
            them make the bank, the others show what is natural.
        key: Consumed.
        grid: Number of cells along a side, a divisor of r.
        frequencies: Number f of random features.
    """
    frequency_key, phase_key, pair_key = jax.random.split(key, 3)
    n, *_, c = features.shape
    pairs = jax.random.permutation(pair_key, n)
    bandwidth = jnp.median(jnp.sum(jnp.square(features - features[pairs]), axis=-1))
    omega = jnp.sqrt(2 / bandwidth) * jax.random.normal(frequency_key, (c, frequencies))
    phases = jax.random.uniform(phase_key, (frequencies,), maxval=2 * jnp.pi)
    bank = FeatureBank(omega, phases, jnp.zeros((grid, grid, frequencies)), jnp.zeros(()))
    half = n // 2
    means = jnp.mean(jax.lax.map(lambda x: _embedding(x, bank), features[:half]), axis=0)
    bank = bank._replace(means=means)
    others = jax.lax.map(lambda x: feature_mmd2(x, bank), features[half:])
    return bank._replace(natural=jnp.quantile(others, 0.9))


def feature_mmd2(features: Float[Array, "r r c"], bank: FeatureBank) -> Float[Array, ""]:
    """The squared discrepancy between one picture's columns and the prior's, cell by cell.

    Args:
        features: Features in standard deviations.
        bank: Result of `make_feature_bank`.

    Returns:
        The mean over cells, without unit, at least 0.
    """
    difference = _embedding(features, bank) - bank.means
    return jnp.mean(jnp.sum(jnp.square(difference), axis=-1))


def hinged_feature_mmd2(
    offset: Float[Array, "r r c"], features: Float[Array, "r r c"], *, bank: FeatureBank
) -> Float[Array, ""]:
    """The part of `feature_mmd2` beyond what natural pictures have.

    Args:
        offset: Not used.
        features: Features with the offset, in standard deviations.
        bank: Result of `make_feature_bank`.
    """
    return jnp.maximum(feature_mmd2(features, bank) - bank.natural, 0.0)


def _embedding(features: Float[Array, "r r c"], bank: FeatureBank) -> Float[Array, "g g f"]:
    """Mean of phi over the columns of each cell."""
    count = bank.phases.shape[0]
    phi = jnp.sqrt(2 / count) * jnp.cos(features @ bank.frequencies + bank.phases[None, None])
    r, g = features.shape[0], bank.means.shape[0]
    return phi.reshape(g, r // g, g, r // g, count).mean(axis=(1, 3))
