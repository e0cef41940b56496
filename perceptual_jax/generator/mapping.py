"""The mapping network z -> w, truncation, and the mean of W.

    w = fc_{L-1}( ... fc_0(normalize(z))),   fc(x) = sqrt(2) * leaky_relu(x W + b)

With labels, the input of fc_0 is normalize(z) concatenated with normalize(embed(label)). The
weights are effective as in `layers.py`: the learning-rate multiplier 0.01 of the official
checkpoints is folded in.

Source: Karras et al., "A Style-Based Generator Architecture for GANs", 2019; labels as in
StyleGAN2-ADA, 2020.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.layers import SQRT2, Dense, leaky_relu, normalize_2nd_moment


class MappingNetwork(nnx.Module):
    """Dense layers `fc0`, `fc1`, ..., and `embed` if the generator is conditional."""

    def __init__(self, arrays: Mapping[str, Mapping[str, Array]]):
        """Builds the network from the effective weights of its layers.

        Args:
            arrays: Maps the name of each layer to its `weight` [in out] and `bias` [out].
        """
        self.embed = Dense(**arrays["embed"]) if "embed" in arrays else None
        self.num_layers = len(arrays) - ("embed" in arrays)
        for i in range(self.num_layers):
            setattr(self, f"fc{i}", Dense(**arrays[f"fc{i}"]))

    @property
    def layers(self) -> list[Dense]:
        """The dense layers `fc0`, `fc1`, ... in order."""
        return [getattr(self, f"fc{i}") for i in range(self.num_layers)]

    @property
    def z_dim(self) -> int:
        """Dimension of Z."""
        embedded = 0 if self.embed is None else self.embed.weight.shape[1]
        return self.layers[0].weight.shape[0] - embedded

    def __call__(
        self, z: Float[Array, " d"], label: Float[Array, " c"] | None = None
    ) -> Float[Array, " w"]:
        """Maps one latent of Z to W, without truncation.

        Args:
            z: Latent; only its direction counts, for it is normalised first.
            label: Class label, usually one-hot; needed if and only if there is an `embed`.

        Raises:
            ValueError: If `z` or `label` does not fit the layers.
        """
        if (self.embed is None) != (label is None):
            raise ValueError(
                f"this mapping network takes {'no' if self.embed is None else 'a'} label, "
                f"got {'none' if label is None else f'one of shape {label.shape}'}"
            )
        _check_size("z", z, self.z_dim)
        x = normalize_2nd_moment(z)
        if self.embed is not None and label is not None:
            _check_size("label", label, self.embed.weight.shape[0])
            x = jnp.concatenate([x, normalize_2nd_moment(self.embed(label))])
        for layer in self.layers:
            x = leaky_relu(layer(x), gain=SQRT2)
        return x


def broadcast_styles(w: Float[Array, " d"], num_styles: int) -> Float[Array, "k d"]:
    """Repeats one w for every style input of a synthesis network."""
    return jnp.broadcast_to(w, (num_styles, *w.shape))


def truncate(
    w: Float[Array, "*k d"], w_mean: Float[Array, " d"], *, psi: float
) -> Float[Array, "*k d"]:
    """The truncation trick: w_mean + psi * (w - w_mean).

    Args:
        w: A point of W, or styles or other points as rows.
        w_mean: Mean of W.
        psi: 1 leaves `w` as it is, 0 gives `w_mean`.

    Example:
        >>> truncate(jnp.ones((3, 2)), jnp.zeros(2), psi=0.5)[:, 0]
        Array([0.5, 0.5, 0.5], dtype=float32)
    """
    mean = jnp.broadcast_to(w_mean, w.shape)
    return mean + psi * (w - mean)


def estimate_w_mean(
    mapping: Callable[[Float[Array, " z"]], Float[Array, " w"]],
    key: Key[Array, ""],
    *,
    z_dim: int,
    samples: int = 100_000,
    chunk: int = 1000,
) -> Float[Array, " w"]:
    """Estimates the mean of w over standard normal z.

    The running mean moves by (mean of the chunk - running mean) / (chunks so far), so that
    float32 loses nothing however many samples there are.

    Args:
        mapping: The mapping network z -> w, for one latent.
        key: Consumed.
        z_dim: Dimension of Z.
        samples: Number of latents, rounded up to whole chunks.
        chunk: Number of latents that are mapped at once.
    """

    def update(mean: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        index, chunk_key = step
        w = jax.vmap(mapping)(jax.random.normal(chunk_key, (chunk, z_dim)))
        return mean + (w.mean(axis=0) - mean) / (index + 1), None

    chunks = -(-samples // chunk)
    start = jnp.zeros_like(jax.eval_shape(mapping, jax.ShapeDtypeStruct((z_dim,), jnp.float32)))
    return lax.scan(update, start, (jnp.arange(chunks), jax.random.split(key, chunks)))[0]


def _check_size(name: str, x: Array, expected: int) -> None:
    if x.shape != (expected,):
        raise ValueError(f"{name} must have shape ({expected},), got {x.shape}")
