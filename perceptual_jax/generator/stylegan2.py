"""StyleGAN2: a mapping network and a skip-architecture synthesis network.

    x = const;  image = 0
    for r in 4, 8, ..., resolution:
        x = layer(up(x));  x = layer(x)                       (only the second at 4 px)
        image = upsample(image) + clip(to_rgb(x))
    layer(x) = clip(sqrt(2) * leaky_relu(modulated_conv(x) + strength * noise + bias))

Layer i, counted from the coarsest, reads style i and noise map i; the to_rgb of a block reads the
style of the layer after it, so there is one style more than layers: 2 log2(resolution) - 2.

The arrays and their shapes are listed in `stylegan2_weights.py`.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.arrays import flattened, nested
from perceptual_jax.generator.draft import DraftHead, DraftParts, finish_draft
from perceptual_jax.generator.layers import (
    SQRT2,
    UpConvForm,
    dense,
    leaky_relu,
    modulated_conv,
    select_noise,
    to_rgb,
    upsample,
)
from perceptual_jax.generator.mapping import mapping_network
from perceptual_jax.generator.stylegan2_weights import (
    StyleGAN2Config,
    check_arrays,
    init_arrays,
    weight_shapes,
)
from perceptual_jax.types import Noise


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
            config: Its sizes.
            arrays: All of them, by name.
            draft_heads: Corrections of the skip image, by draft resolution.

        Raises:
            ValueError: If an array is missing, unknown or of the wrong shape.
        """
        check_arrays(arrays, config)
        weights = nested({name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()})
        for block in weights["synthesis"].values():
            for name in block.keys() & {"conv0", "conv1"}:
                square = jnp.sum(jnp.square(block[name]["weight"]), axis=(0, 1))
                block[name]["weight_square"] = square
        self.config = config
        self.w_mean = nnx.data(weights.pop("w_mean"))
        self.weights = nnx.data(weights)
        self.draft_heads = nnx.data(dict(draft_heads or {}))

    @classmethod
    def init(cls, key: Key[Array, ""], config: StyleGAN2Config) -> "StyleGAN2":
        """Random weights with the distribution the official training starts from."""
        return cls(config, init_arrays(key, config))

    @property
    def resolution(self) -> int:
        """Height and width of the image."""
        return self.config.resolutions[-1]

    @property
    def num_styles(self) -> int:
        """Style vectors the synthesis network reads."""
        return _num_styles(self.resolution)

    @property
    def z_dim(self) -> int:
        """Dimension of Z."""
        return self.config.z_dim

    def to_arrays(self) -> dict[str, Array]:
        """The arrays this generator can be built from again."""
        flat = {"w_mean": self.w_mean, **flattened(self.weights)}
        return {name: flat[name] for name in weight_shapes(self.config)}

    def mapping(
        self, z: Float[Array, " d"], label: Float[Array, " c"] | None = None
    ) -> Float[Array, " w"]:
        """One latent of Z to W, without truncation; with a label where `c_dim` is not 0."""
        return mapping_network(self.weights["mapping"], z, label)

    def synthesis(self, styles: Float[Array, "k d"], noise: Noise) -> Float[Array, "h w 3"]:
        """The image of W+ styles at full resolution, about in [-1, 1], not clipped."""
        return self._blocks(styles, noise, self.resolution)[1]

    def draft(
        self, styles: Float[Array, "k d"], noise: Noise, resolution: int
    ) -> Float[Array, "h w 3"]:
        """About the area-downscaled image: the skip image at `resolution`, corrected by its head.

        Args:
            styles: All styles.
            noise: All maps, or those up to `resolution`.
            resolution: A power of two from 4 to the full resolution.

        Raises:
            ValueError: If there is no block of this resolution.
        """
        if resolution not in self.draft_heads:
            return self._blocks(styles, noise, resolution)[1]
        parts = self.draft_parts(styles, noise, resolution)
        return finish_draft(self.draft_heads[resolution], parts)

    def draft_parts(self, styles: Float[Array, "k d"], noise: Noise, resolution: int) -> DraftParts:
        """What a draft head reads and corrects: features, late styles, and the skip image."""
        features, image = self._blocks(styles, noise, resolution)
        late = (styles - self.w_mean[None])[_num_styles(resolution) - 1 :]
        return DraftParts(features, late, image)

    def num_seen_styles(self, resolution: int) -> int:
        """How many of the first styles a draft depends on; all of them if it has a head."""
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
            mode: Which of the three.

        Raises:
            ValueError: If "random" gets no key.
        """
        own = tuple(layer["noise_const"] for layer in self._layers())
        return select_noise(own, key, mode=mode)

    def _layers(self) -> list[dict[str, Any]]:
        """The weights of the layers, from the coarsest."""
        blocks = (self.weights["synthesis"][f"b{r}"] for r in self.config.resolutions)
        return [block[name] for block in blocks for name in ("conv0", "conv1") if name in block]

    def _blocks(
        self, styles: Array, noise: Noise, last: int
    ) -> tuple[Float[Array, "h w c"], Float[Array, "h w 3"]]:
        """Features and skip image after the block of resolution `last`."""
        self._check_inputs(styles, noise, last)
        weights = self.weights["synthesis"]
        x = weights["b4"]["const"].astype(self.config.dtype)
        image = jnp.zeros((2, 2, 3))  # upsampled once before the first block adds to it
        i = 0
        for resolution in self.config.resolutions:
            block = weights[f"b{resolution}"]
            if "conv0" in block:
                x = self._layer(x, block["conv0"], styles[i], noise[i], up=self.config.up_conv)
                i += 1
            x = self._layer(x, block["conv1"], styles[i], noise[i])
            i += 1
            rgb = block["torgb"]
            style = dense(styles[i], **rgb["affine"])
            image = upsample(image) + self._clip(to_rgb(x, rgb["weight"], rgb["bias"], style))
            if resolution == last:
                break
        return x, image

    def _layer(
        self, x: Array, layer: dict[str, Any], w: Array, noise: Array, up: UpConvForm | None = None
    ) -> Float[Array, "h w c"]:
        style = dense(w, **layer["affine"])
        x = modulated_conv(x, layer["weight"], layer["weight_square"], style, up=up)
        x = x + (layer["noise_strength"] * noise).astype(x.dtype)[..., None]
        x = x + layer["bias"].astype(x.dtype)[None, None]
        return self._clip(leaky_relu(x, gain=SQRT2))

    def _clip(self, x: Array) -> Array:
        clamp = self.config.conv_clamp
        return x if clamp is None else jnp.clip(x, -clamp, clamp)

    def _check_inputs(self, styles: Array, noise: Noise, last: int) -> None:
        expected = (self.num_styles, self.config.w_dim)
        if styles.shape != expected:
            raise ValueError(f"styles must have shape {expected}, got {styles.shape}")
        resolutions = self.config.resolutions
        if last not in resolutions:
            raise ValueError(f"resolution must be one of {resolutions}, got {last}")
        sizes = [r for r in resolutions for _ in (0, 1) if r <= last][1:]
        got = [x.shape for x in noise[: len(sizes)]]
        if got != [(r, r) for r in sizes]:
            raise ValueError(
                f"noise must have maps of {sizes} px, as noise_maps() gives, got shapes {got}"
            )


def _num_styles(resolution: int) -> int:
    return 2 * (resolution.bit_length() - 1) - 2
