"""Sizes and switches of the conditional PixelCNN++, and its presets."""

import dataclasses
from typing import Literal

from perceptual_jax.validation import Checked, Count, Share, Size


@dataclasses.dataclass(frozen=True)
class PixelCNNConfig(Checked):
    """Sizes and switches of the network. Hashable: static under `jax.jit`."""

    channels: Size = 32
    """Channels of both streams."""
    blocks: Size = 3
    """Number of gated blocks in each stream; the context reaches 2 blocks + 3 rows up."""
    components: Size = 5
    """Number of components of the mixture."""
    component: Literal["logistic", "gaussian"] = "logistic"
    """Distribution of the mixture's components."""
    encoder: Literal["none", "local"] = "local"
    """Features of the condition: its pixels, or an encoder that sees 9 pixels and more around."""
    encoder_channels: Size = 32
    """Channels of the encoder, at half the resolution."""
    injection: Literal["both", "rightward", "late"] = "late"
    """Where the condition enters the network, see `pixelcnn`."""
    fusion_blocks: Count = 1
    """Number of gated 1x1 blocks after the streams, for late injection only."""
    phase: Literal["none", 8, 16] = 16
    """Period in pixels of the grid in which a pixel's position conditions the network."""
    quality: Literal["none", "table"] = "table"
    """Whether the quantisation tables condition the network, if they are known."""
    mean: Literal["plain", "condition", "anchored"] = "anchored"
    """Means of the mixture: free, relative to the condition's pixel, or relative to that or to a
    neighbour in the degraded image."""
    min_log_scale: float = -10.0
    """Smallest log-scale of a component; -7 is PixelCNN++'s, a floor of 0.039 bits/dim."""
    dropout: Share = 0.0
    """Fraction of activations dropped in each block in training."""


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
"""The configs of the paper's network and of the shipped models."""
