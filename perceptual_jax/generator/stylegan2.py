"""StyleGAN2: a mapping network and a skip-architecture synthesis network.

    x = const;  image = 0
    for r in 4, 8, ..., resolution:
        x = layer(up(x));  x = layer(x)                       (only the second at 4 px)
        image = upsample(image) + clip(to_rgb(x))
    layer(x) = clip(sqrt(2) * leaky_relu(modulated_conv(x) + strength * noise + bias))

Layer i, counted from the coarsest, reads style i and noise map i; the to_rgb of a block reads the
style of the next layer, so there is one style more than layers: 2 log2(resolution) - 2.

The arrays and their shapes are listed in `stylegan2_weights.py`.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.arrays import Arrays, named_params
from perceptual_jax.generator.draft import DraftHead, DraftParts, finish_draft
from perceptual_jax.generator.layers import add_offset, select_noise
from perceptual_jax.generator.mapping import MappingNetwork
from perceptual_jax.generator.stylegan2_block import Block
from perceptual_jax.generator.stylegan2_weights import (
    StyleGAN2Config,
    check_arrays,
    init_arrays,
    of_class,
    weight_shapes,
)
from perceptual_jax.types import Noise


class Synthesis(nnx.Module):
    """The blocks `b4`, `b8`, ... of a synthesis network."""

    def __init__(self, arrays: Arrays, config: StyleGAN2Config):
        """Builds the network from the arrays of its blocks."""
        self.config = config
        for resolution in config.resolutions:
            name = f"b{resolution}"
            setattr(self, name, Block(arrays[name], config))

    @property
    def blocks(self) -> list[Block]:
        """All blocks, from the coarsest."""
        return [getattr(self, f"b{resolution}") for resolution in self.config.resolutions]

    def __call__(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        offset: Float[Array, "s s j"] | None = None,
    ) -> Float[Array, "h w 3"]:
        """The image of W+ styles at full resolution, approximately in [-1, 1], not clipped.

        Args:
            styles: All styles.
            noise: All noise maps.
            offset: Added to the features after the block of its size; None adds nothing.

        Raises:
            ValueError: If shapes do not fit.
        """
        return self.until(styles, noise, self.config.resolutions[-1], offset)[1]

    def until(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "s s j"] | None = None,
    ) -> tuple[Float[Array, "h w c"], Float[Array, "h w 3"]]:
        """Features and skip image after the block of a resolution.

        Args:
            styles: All styles.
            noise: All maps, or those up to `resolution`.
            resolution: The last block to compute.
            offset: Added to the features after the block of its size, which its own image does not
                see.

        Raises:
            ValueError: If there is no block of this resolution, or shapes do not fit.
        """
        self._check_inputs(styles, noise, resolution)
        blocks = self.blocks[: self.config.resolutions.index(resolution) + 1]
        x = blocks[0].const[...].astype(self.config.dtype)
        image = jnp.zeros((2, 2, 3))  # upsampled once before the first block adds to it
        i = 0
        for block in blocks:
            stop = i + len(block.layers)
            x, image = block(x, image, styles[i : stop + 1], noise[i:stop])
            x = add_offset(x, offset, last=resolution)
            i = stop
        return x, image

    def _check_inputs(self, styles: Array, noise: Noise, last: int) -> None:
        resolutions = self.config.resolutions
        expected = (_num_styles(resolutions[-1]), self.config.w_dim)
        if styles.shape != expected:
            raise ValueError(f"styles must have shape {expected}, got {styles.shape}")
        if last not in resolutions:
            raise ValueError(f"resolution must be one of {resolutions}, got {last}")
        sizes = [r for r in resolutions for _ in (0, 1) if r <= last][1:]
        got = [x.shape for x in noise[: len(sizes)]]
        if got != [(r, r) for r in sizes]:
            raise ValueError(
                f"noise must have maps of {sizes} px, as noise_maps() gives, got shapes {got}"
            )


class StyleGAN2(nnx.Module):
    """A StyleGAN2 generator. Immutable: build once, pass around."""

    def __init__(
        self,
        config: StyleGAN2Config,
        arrays: Mapping[str, Array | np.ndarray],
        *,
        draft_heads: Mapping[int, DraftHead] | None = None,
    ):
        """Builds the generator from the arrays of `weight_shapes(config)`.

        Args:
            config: Sizes of the network.
            arrays: All arrays, by name.
            draft_heads: Heads that correct the skip image, by draft resolution.

        Raises:
            ValueError: If an array is missing, unknown or of the wrong shape.
        """
        check_arrays(arrays, config)
        weights = {name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()}
        nested = traverse_util.unflatten_dict(weights, sep=".")
        self.config = config
        self.mapping = MappingNetwork(nested["mapping"])
        self.w_mean = nnx.data(nested["w_mean"])
        self.synthesis = Synthesis(nested["synthesis"], config)
        self.draft_heads = nnx.data(dict(draft_heads or {}))

    @classmethod
    def init(cls, key: Key[Array, ""], config: StyleGAN2Config) -> "StyleGAN2":
        """A generator with random weights, distributed as at the start of the official training."""
        return cls(config, init_arrays(key, config))

    def of_class(self, class_index: int) -> "StyleGAN2":
        """The unconditional generator that this conditional one is for one class.

        Args:
            class_index: The class, from 0; its label is one-hot.

        Raises:
            ValueError: If there is no such class, or the generator is not conditional.
        """
        if not self.config.c_dim:
            raise ValueError("the generator is not conditional, so it has no classes")
        config = dataclasses.replace(self.config, c_dim=0)
        arrays = of_class(self.to_arrays(), class_index)
        return StyleGAN2(config, arrays, draft_heads=self.draft_heads)

    @property
    def c_dim(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return self.config.c_dim

    @property
    def resolution(self) -> int:
        """Height and width of the image."""
        return self.config.resolutions[-1]

    @property
    def num_styles(self) -> int:
        """Number of style vectors that the synthesis network reads."""
        return _num_styles(self.resolution)

    @property
    def z_dim(self) -> int:
        """Dimension of Z."""
        return self.config.z_dim

    def to_arrays(self) -> dict[str, Array]:
        """The arrays of `weight_shapes`, from which the generator can be rebuilt."""
        flat = {"w_mean": self.w_mean, **named_params(self)}
        return {name: flat[name] for name in weight_shapes(self.config)}

    def draft(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "s s j"] | None = None,
    ) -> Float[Array, "h w 3"]:
        """Approximates the area-downscaled image: the skip image, corrected by a draft head.

        Args:
            styles: All styles.
            noise: All maps, or those up to `resolution`.
            resolution: A power of two from 4 to the full resolution.
            offset: As in `Synthesis.until`.

        Raises:
            ValueError: If there is no block of this resolution, or shapes do not fit.
        """
        if resolution not in self.draft_heads:
            return self.synthesis.until(styles, noise, resolution, offset)[1]
        parts = self.draft_parts(styles, noise, resolution, offset)
        return finish_draft(self.draft_heads[resolution], parts)

    def draft_parts(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "s s j"] | None = None,
    ) -> DraftParts:
        """The inputs of a draft head: features, late styles, and the skip image to correct."""
        features, image = self.synthesis.until(styles, noise, resolution, offset)
        late = (styles - self.w_mean[None])[_num_styles(resolution) - 1 :]
        return DraftParts(features, late, image)

    def features(
        self, styles: Float[Array, "k d"], noise: Noise, resolution: int
    ) -> Float[Array, "h w c"]:
        """The activations after the block of a resolution; errors as `draft`."""
        return self.synthesis.until(styles, noise, resolution)[0]

    def num_seen_styles(self, resolution: int) -> int:
        """Number of leading styles that a draft depends on; all of them if it has a head."""
        return self.num_styles if resolution in self.draft_heads else _num_styles(resolution)

    def noise_maps(
        self,
        key: Key[Array, ""] | None = None,
        *,
        mode: Literal["const", "random", "none"] = "const",
    ) -> Noise:
        """The noise inputs: the network's own maps, standard normal draws, or zeros.

        Args:
            key: Consumed; needed for "random".
            mode: The maps of the network, normal draws, or zeros.

        Raises:
            ValueError: If the mode is "random" and `key` is None.
        """
        layers = (layer for block in self.synthesis.blocks for layer in block.layers)
        return select_noise(tuple(layer.noise_const[...] for layer in layers), key, mode=mode)


def _num_styles(resolution: int) -> int:
    return 2 * (resolution.bit_length() - 1) - 2
