"""GFPGAN's clean StyleGAN2: plain layers in place of those with equalised learning rates.

A clean file has the names of BasicSR, but effective weights: gains and learning-rate multipliers
are multiplied into them, and so is the gain sqrt(2) after each leaky ReLU, which follows from
sqrt(2) lrelu(x) = lrelu(sqrt(2) x). With n the fan in,

    theirs                                     BasicSR's
    style_mlp.{2i + 1}.weight, bias            style_mlp.{i + 1}.weight / (0.01 sqrt(2 / n)),
                                                   bias / (0.01 sqrt(2))
    *.modulation.weight, bias                  weight * sqrt(n), bias
    *.modulated_conv.weight                    weight * sqrt(n)
    style_conv*.bias                           activate.bias / sqrt(2)
    style_conv*.weight (of the noise)          weight / sqrt(2)

The networks differ in one more way: before a convolution that doubles the size, features are
interpolated bilinearly, where others scatter and filter (`generator/filters.py`). That
convolution is a plain one, so its kernel is turned by 180 degrees against those of the others.

Source: GFPGAN's `stylegan2_clean_arch` and its script that converts networks to it, as public.
"""

import math
import re
from collections.abc import Mapping

import numpy as np

from perceptual_jax.checkpoints.store import Arrays

_RATE = 0.01
"""Learning-rate multiplier of the mapping network."""


def is_clean(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays with BasicSR's names are those of a clean network."""
    return "style_conv1.bias" in arrays and "style_conv1.activate.bias" not in arrays


def to_basicsr(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Converts names and numbers to those of BasicSR.

    Args:
        arrays: Arrays of a clean generator, by the names in its file.
    """
    return dict(_to_basicsr(name, np.asarray(value)) for name, value in arrays.items())


def _to_basicsr(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    if match := re.fullmatch(r"style_mlp\.(\d{1,3})\.(weight|bias)", name):
        number = (int(match[1]) + 1) // 2
        gain = _RATE * math.sqrt(2)
        if match[2] == "weight":
            gain /= math.sqrt(_fan_in(value))
        return f"style_mlp.{number}.{match[2]}", _over(value, gain)
    if name.endswith("modulation.weight"):
        return name, _over(value, 1 / math.sqrt(_fan_in(value)))
    if name.endswith("modulated_conv.weight"):
        # The kernels that double the size have even numbers; those of to_rgb are 1 x 1.
        turned = re.match(r"style_convs\.\d*[02468]\.", name) is not None and value.ndim == 5
        value = value[..., ::-1, ::-1] if turned else value
        return name, _over(value, 1 / math.sqrt(_fan_in(value)))
    if match := re.fullmatch(r"(style_conv1|style_convs\.\d+)\.(bias|weight)", name):
        new = f"{match[1]}.activate.bias" if match[2] == "bias" else name
        return new, _over(value.reshape(-1), math.sqrt(2))
    return name, value


def _fan_in(weight: np.ndarray) -> int:
    """Inputs of each output: of a dense layer [o i], of a kernel [1 o i k k]."""
    return max(math.prod(weight.shape[2 if weight.ndim == 5 else 1 :]), 1)


def _over(value: np.ndarray, gain: float) -> np.ndarray:
    """The value over a gain, rounded to float32 once."""
    return np.asarray(np.asarray(value, np.float64) / gain, np.float32)
