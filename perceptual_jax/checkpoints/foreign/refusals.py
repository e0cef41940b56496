"""Networks that are not served, refused in the words of those who trained them."""

import re
from collections.abc import Mapping

import numpy as np

from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, Network


class ArchitectureError(CheckpointError):
    """A network has an architecture that is not supported."""


def refuse_other_architectures(network: Network) -> None:
    """Refuses StyleGAN1, StyleGAN3, and StyleGAN2's architectures other than `skip`.

    Args:
        network: A network of a file, without prefix.

    Raises:
        ArchitectureError: If it is one of them.
    """
    arrays, attributes = network.arrays, network.attributes
    if any(re.search(r"(^|\.)synthesis\.(input\.|L\d+_)", name) for name in arrays):
        raise ArchitectureError("the network is a StyleGAN3, which is not served; a StyleGAN2 is")
    if any("/ToRGB_lod" in name or "/LayerEpilogue" in name for name in arrays) or (
        network.kind.endswith("G_style")
    ):
        raise ArchitectureError("the network is a StyleGAN1, which is not served; a StyleGAN2 is")
    settings = ("architecture", "synthesis.architecture", "init_kwargs.architecture")
    named = [attributes.get(setting) for setting in settings]
    for architecture in ("resnet", "orig"):
        skipping = any(re.search(r"(\.skip\.|/Skip/)", name) for name in arrays)
        if architecture in named or (architecture == "resnet" and skipping):
            raise ArchitectureError(
                f"the network has the architecture {architecture!r}, which is not served; "
                "'skip', that of the FFHQ networks, is"
            )
    if any("LabelConcat" in name for name in arrays):
        raise ArchitectureError(
            "the network is conditional as in the first StyleGAN2 for TensorFlow (LabelConcat), "
            "which is not served; those of StyleGAN2-ADA are"
        )


def refuse_other_pictures(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses networks whose images are not square, not RGB, or do not begin at 4 px.

    Args:
        arrays: Arrays of a StyleGAN2 under NVIDIA's torch names.

    Raises:
        ArchitectureError: If it is one of them.
    """
    const = arrays["synthesis.b4.const"].shape
    blocks = {name.split(".")[1] for name in arrays if re.match(r"synthesis\.b\d+\.", name)}
    if len(const) == 3:
        refuse_other_constants(const[1:], len(blocks))
    for name, value in arrays.items():
        shape = np.shape(value)
        if name.endswith("torgb.weight") and len(shape) == 4 and shape[0] != 3:
            refuse_colours(shape[0])


def refuse_other_constants(size: tuple[int, ...], blocks: int) -> None:
    """Refuses a network whose constant input is not one of 4 x 4 pixels.

    Args:
        size: Height and width of the constant.
        blocks: Number of sizes from the constant to the image, each twice the one before.

    Raises:
        ArchitectureError: If it has another size.
    """
    height, width = size
    if size == (4, 4):
        return
    factor = 2 ** max(blocks - 1, 0)
    images = f"its images have {factor * height} x {factor * width} pixels"
    if height != width:
        raise ArchitectureError(
            f"the network is not square ({height} x {width}): {images}, height by width, and only "
            "generators of square images are served"
        )
    raise ArchitectureError(
        f"the network begins with {height} x {width} pixels: {images}, and only generators that "
        "begin with 4 x 4 are served"
    )


def refuse_colours(channels: int) -> None:
    """Refuses a network of another number of colour channels than three.

    Raises:
        ArchitectureError: If the number is not three.
    """
    if channels != 3:
        raise ArchitectureError(
            f"the network's images have {channels} colour channel{'s' * (channels != 1)}, and only "
            "RGB, with 3, is served"
        )


def refuse_complex(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses arrays of complex numbers, of which no generator consists.

    Raises:
        CheckpointError: If there is one.
    """
    for name, value in arrays.items():
        if np.asarray(value).dtype.kind == "c":
            raise CheckpointError(f"{name} has numbers of the type {value.dtype}, not real ones")
