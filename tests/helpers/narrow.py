"""Narrow random generators, the real classes at 32 px, for tests."""

import numpy as np

from perceptual_jax.generator.mobilestylegan import MobileStyleGAN


def mobile_arrays(*, dim=16, channels=(16, 16), seed=0):
    """Arrays of a MobileStyleGAN: const and conv1 at channels[0], then one block for each entry."""
    rng = np.random.default_rng(seed)

    def normal(*shape, gain=1.0):
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1.0
        return (gain * rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    def affine(name, c):
        return {
            f"{name}.affine.weight": normal(dim, c, gain=0.5),
            f"{name}.affine.bias": np.ones(c, np.float32),
        }

    arrays = {"const": normal(4, 4, channels[0], gain=4.0), **affine("conv1", channels[0])}
    arrays["conv1.weight"] = normal(3, 3, channels[0], channels[0])
    arrays["conv1.bias"] = normal(channels[0], gain=0.1)
    arrays["conv1.noise"] = normal(4, 4, gain=0.2)
    for i in range(8):
        arrays[f"mapping.fc{i}.weight"] = normal(dim, dim)
        arrays[f"mapping.fc{i}.bias"] = normal(dim, gain=0.1)
    before = channels[0]
    for i, c in enumerate(channels):
        size = 8 * 2**i
        arrays |= affine(f"blocks.{i}.up", before)
        for name, c_in in (("conv1", before // 4), ("conv2", c)):
            layer = f"blocks.{i}.{name}"
            arrays |= affine(layer, c_in)
            arrays[f"{layer}.depthwise"] = normal(3, 3, c_in, gain=2.0)
            arrays[f"{layer}.pointwise"] = normal(c_in, c)
            arrays[f"{layer}.noise"] = normal(size, size, gain=0.5)
            arrays[f"{layer}.bias"] = normal(c, gain=0.1)
        before = c
    arrays |= affine("to_image", before)
    arrays["to_image.weight"] = normal(before, 12, gain=0.5)
    arrays["to_image.bias"] = normal(12, gain=0.1)
    arrays["w_mean"] = normal(dim, gain=0.3)
    return arrays


def mobile(**options):
    """A 32-px MobileStyleGAN: two blocks of 16 channels, W of 16 dimensions."""
    return MobileStyleGAN.from_arrays(mobile_arrays(**options))
