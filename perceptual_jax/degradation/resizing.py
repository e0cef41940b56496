"""A picture at another size, as the data terms want it."""

from jaxtyping import Array, Float

from perceptual_jax.degradation.consistency import downscale


def resize(image: Float[Array, "h w c"], size: tuple[int, int]) -> Float[Array, "h2 w2 c"]:
    """By averaging areas where it shrinks, bicubic where it grows.

    Example:
        >>> import jax.numpy as jnp
        >>> resize(jnp.ones((8, 8, 3)), (4, 4)).shape
        (4, 4, 3)
    """
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return downscale(image, size, filter="area" if shrinks else "bicubic")
