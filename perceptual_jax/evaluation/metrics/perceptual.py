"""Perceptual distance by the features of a network (LPIPS), and pooled features of a picture.

A network gives the activations y_1..y_5 of five layers. With each position's vector scaled to
length 1, LPIPS is

    sum_l mean_{h,w} sum_c head_l[c] (y_l[h w c] - y'_l[h w c])^2

The networks are AlexNet and VGG16 as torchvision has them, up to their last convolution. They are
functions of arrays by name (`checkpoints.measures`): no framework's layers stand between a picture
and its number.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
2018, version 0.1 of the authors' weights; Krizhevsky, "One weird trick for parallelizing
convolutional neural networks", 2014; Simonyan and Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition", ICLR 2015.
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Network = Literal["alex", "vgg"]
Parameters = Mapping[str, Array | np.ndarray]
"""`conv{i}.weight` [h w in out], `conv{i}.bias` [out], and `head{i}` [channels] of five layers."""

_SHIFT = np.array([[[-0.030, -0.088, -0.188]]], np.float32)
_SCALE = np.array([[[0.458, 0.448, 0.450]]], np.float32)
"""Mean and standard deviation of ImageNet's pictures, in [-1, 1]."""

_ALEX_STRIDES = (4, 1, 1, 1, 1)
_ALEX_PADDING = (2, 2, 1, 1, 1)
_VGG_POOLED = (2, 4, 7, 10)
_VGG_LAYERS = (1, 3, 6, 9, 12)
_SMALLEST: dict[Network, int] = {"alex": 31, "vgg": 16}
"""Pixels below which a layer has no position."""


def layers(
    parameters: Parameters, image: Float[Array, "h w 3"], *, network: Network
) -> tuple[Float[Array, "_ _ _"], ...]:
    """The rectified activations of the five layers that LPIPS compares.

    Args:
        parameters: The network's arrays.
        image: Image in [-1, 1] of at least 31 x 31 (alex) or 16 x 16 pixels (vgg).
        network: AlexNet (relu1 to relu5) or VGG16 (relu1_2, 2_2, 3_3, 4_3 and 5_3).

    Raises:
        ValueError: If the image is too small for the network.
    """
    if min(image.shape[:2]) < _SMALLEST[network]:
        raise ValueError(
            f"LPIPS ({network}) needs images of at least {_SMALLEST[network]} x "
            f"{_SMALLEST[network]} pixels, got {image.shape[0]} x {image.shape[1]}"
        )
    x = (image - _SHIFT) / _SCALE
    if network == "vgg":
        return vgg16_layers(parameters, x)
    found = []
    for i in range(5):
        if i in (1, 2):
            x = max_pool(x, 3)
        x = jax.nn.relu(_conv(parameters, i, x, _ALEX_STRIDES[i], _ALEX_PADDING[i]))
        found.append(x)
    return tuple(found)


def vgg16_layers(
    parameters: Parameters, pixels: Float[Array, "h w 3"]
) -> tuple[Float[Array, "_ _ _"], ...]:
    """relu1_2, 2_2, 3_3, 4_3 and 5_3 of VGG16, of pixels as its training had them."""
    found, x = [], pixels
    for i in range(13):
        if i in _VGG_POOLED:
            x = max_pool(x, 2)
        x = jax.nn.relu(_conv(parameters, i, x, 1, 1))
        if i in _VGG_LAYERS:
            found.append(x)
    return tuple(found)


def lpips(
    parameters: Parameters,
    a: Float[Array, "h w 3"],
    b: Float[Array, "h w 3"],
    *,
    network: Network = "alex",
) -> Float[Array, ""]:
    """Learned perceptual image patch similarity: 0 for equal images, about 1 for unrelated ones.

    No unit; lower is more similar. Its values depend on the size of the images: compare those of
    one size only.

    Args:
        parameters: The arrays of `lpips-alex` or `lpips-vgg`.
        a: Image in [-1, 1].
        b: Image in [-1, 1].
        network: The network of these arrays.

    Raises:
        ValueError: If the images are too small for the network.

    Source: see the top of this file.
    """
    found_a, found_b = (layers(parameters, image, network=network) for image in (a, b))
    return compare_layers(parameters, found_a, found_b)


def compare_layers(
    parameters: Parameters,
    a: tuple[Float[Array, "_ _ _"], ...],
    b: tuple[Float[Array, "_ _ _"], ...],
) -> Float[Array, ""]:
    """LPIPS of two pictures' `layers`, for when one picture is compared with many."""
    total = jnp.zeros(())
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        squared = (_unit(x) - _unit(y)) ** 2
        total += jnp.mean(
            jnp.sum(squared * jnp.asarray(parameters[f"head{i}"])[None, None], axis=-1)
        )
    return total


def pooled(
    parameters: Parameters, image: Float[Array, "h w 3"], *, network: Network = "alex"
) -> Float[Array, " d"]:
    """The activations of a picture's last three layers, averaged over positions.

    896 numbers of AlexNet (relu3 to relu5), 1280 of VGG16 (relu3_3, 4_3 and 5_3). Distances of sets
    of pictures are computed on them (`sets`).

    Args:
        parameters: The network's arrays.
        image: Image in [-1, 1].
        network: AlexNet or VGG16.

    Raises:
        ValueError: If the image is too small for the network.
    """
    return pool_layers(layers(parameters, image, network=network))


def pool_layers(found: tuple[Float[Array, "_ _ _"], ...]) -> Float[Array, " d"]:
    """`pooled` of a picture's `layers`."""
    return jnp.concatenate([jnp.mean(x, axis=(0, 1)) for x in found[2:]])


def _conv(
    parameters: Parameters, i: int, x: Float[Array, "h w c"], stride: int, padding: int
) -> Float[Array, "_ _ _"]:
    y = jax.lax.conv_general_dilated(
        x[None],
        jnp.asarray(parameters[f"conv{i}.weight"]),
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        # The default precision of accelerators would change published values in the third digit.
        precision=jax.lax.Precision.HIGHEST,
    )
    return y[0] + jnp.asarray(parameters[f"conv{i}.bias"])[None, None]


def max_pool(x: Float[Array, "h w c"], window: int) -> Float[Array, "_ _ _"]:
    """Maxima over windows with a stride of 2 pixels; windows beyond the border are left out."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (window, window, 1), (2, 2, 1), "VALID")


def _unit(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Vectors of length 1 over the channels; the tiny term keeps gradients at zeros finite."""
    return x / (jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-20) + 1e-10)
