"""Sizes and switches of the conditional PixelCNN++, and its presets."""

import dataclasses
from typing import Literal

from perceptual_jax.validation import Checked, Count, Share, Size


@dataclasses.dataclass(frozen=True)
class PixelCNNConfig(Checked):
    """Sizes and switches of the network. Hashable: static under `jax.jit`."""

    channels: Size = 32
    """Of both streams."""
    blocks: Size = 3
    """Gated blocks in each stream; they reach 2 blocks + 3 rows up."""
    components: Size = 5
    """Of the mixture."""
    component: Literal["logistic", "gaussian"] = "logistic"
    """Kind of the mixture's components."""
    encoder: Literal["none", "local"] = "local"
    """The condition itself, or features of it that see 9 pixels and more around."""
    encoder_channels: Size = 32
    """Of the encoder, at half the resolution."""
    injection: Literal["both", "rightward", "late"] = "late"
    """Where the condition enters."""
    fusion_blocks: Count = 1
    """Gated 1x1 blocks after the streams, where `injection` is late."""
    phase: Literal["none", 8, 16] = 16
    """Pixels after which the grid repeats that a pixel's place is told in."""
    quality: Literal["none", "table"] = "table"
    """Whether the quantisation tables are told, where they are known."""
    mean: Literal["plain", "condition", "anchored"] = "anchored"
    """Means of the mixture: free, or what is added to the pixel of the condition, or to that or
    a neighbour in the degraded image."""
    min_log_scale: float = -10.0
    """Smallest log-scale of a component; -7 is PixelCNN++'s, a floor of 0.039 bits/dim."""
    dropout: Share = 0.0
    """Share of activations dropped in each block in training."""


PRESETS = {
    "paper": PixelCNNConfig(
        channels=100,
        blocks=6,
        components=10,
        encoder="none",
        injection="both",
        phase="none",
        quality="none",
        mean="plain",
        min_log_scale=-7.0,
        dropout=0.5,
    ),
    "fast": PixelCNNConfig(),
}
"""The paper's network, and the one that is shipped."""
