"""What the tests of StyleGAN2 share: narrow networks of the reference, as ours."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config

CONFIG = StyleGAN2Config(channels=(6, 5, 4), z_dim=8, w_dim=6, mapping_layers=3)
CLAMP = 1.0  # small enough to clip many activations and pixels of the narrow network


def to_ours(ckpt):
    """NVIDIA's arrays into ours, as the table in stylegan2_weights.py says."""
    arrays = {}
    for name, x in ckpt.items():
        fan_in = np.prod(x.shape[1:])
        if name == "mapping.w_avg":
            arrays["w_mean"] = x
        elif name.startswith("mapping.fc"):
            gain = 0.01 / np.sqrt(fan_in) if name.endswith("weight") else 0.01
            arrays[name] = x.T * gain
        elif name.endswith("const") and x.ndim == 3:
            arrays[name] = x.transpose(1, 2, 0)
        elif name.endswith("torgb.weight"):
            arrays[name] = x[:, :, 0, 0].T / np.sqrt(fan_in)
        elif x.ndim == 4:
            kernel = x.transpose(2, 3, 1, 0)
            arrays[name] = kernel[::-1, ::-1] if "conv0" in name else kernel
        elif name.endswith(("affine.weight", "embed.weight")):
            arrays[name] = x.T / np.sqrt(fan_in)
        else:
            arrays[name] = x
    return {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def f32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@jax.jit
def synthesis(generator, styles, noise):
    return generator.synthesis(styles, noise)


def with_config(generator, **changes):
    config = dataclasses.replace(generator.config, **changes)
    return StyleGAN2(config, generator.to_arrays(), draft_heads=generator.draft_heads)
