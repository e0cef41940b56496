"""Converts names and layouts of other StyleGAN2 files to those of NVIDIA's torch checkpoints.

    theirs                                        NVIDIA's torch name, r the resolution
    -- NVIDIA's TensorFlow (k x k x in x out) -----------------------------------------------------
    mapping/Dense{i}/weight, bias                 mapping.fc{i}.weight (transposed), bias
    mapping/LabelEmbed/weight, bias               mapping.embed.weight (transposed), bias
    dlatent_avg                                   mapping.w_avg
    synthesis/4x4/Const/const                     synthesis.b4.const
    synthesis/4x4/Conv/...                        synthesis.b4.conv1...
    synthesis/{r}x{r}/Conv0_up/..., Conv1/...     synthesis.b{r}.conv0... (kernel flipped), conv1...
        weight, bias, noise_strength                  weight, bias, noise_strength
        mod_weight, mod_bias                          affine.weight (transposed), affine.bias (+ 1)
    synthesis/{r}x{r}/ToRGB/...                   synthesis.b{r}.torgb...
    synthesis/noise{n}                            synthesis.b{r}.conv{0,1}.noise_const
    -- rosinality (out x in x k x k, under a leading axis of 1) -----------------------------------
    style.{i + 1}.weight, bias                    mapping.fc{i}.weight, bias
    latent_avg (beside the network)               mapping.w_avg
    input.input                                   synthesis.b4.const
    conv1, convs.{j}                              synthesis.b4.conv1, b{r}.conv{0,1}
        .conv.weight, .activate.bias, .noise.weight   .weight, .bias, .noise_strength
        .conv.modulation.weight, bias                 .affine.weight, bias
    to_rgb1, to_rgbs.{j}                          synthesis.b4.torgb, b{r}.torgb
    noises.noise_{n}                              synthesis.b{r}.conv{0,1}.noise_const

The names of BasicSR and GFPGAN (`style_mlp`, `modulated_conv`, ...) are first translated to those
of rosinality, those of GFPGAN's clean networks by `clean_names`, and those of flaxmodels
(`block_8x8/layer0/conv/weight`, channels last) to those of TensorFlow.

Source: the public checkpoints, compared with the tables of their own converters.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from perceptual_jax.checkpoints.foreign.clean_names import is_clean, to_basicsr
from perceptual_jax.checkpoints.foreign.resampling import FILTERS
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError

Naming = str
"""Naming scheme of a checkpoint's arrays, a result of `naming_of`."""


SIGNS: Mapping[Naming, str] = {
    "nvidia": "synthesis.b4.const",
    "tensorflow": "synthesis/4x4/Const/const",
    "rosinality": "input.input",
    "basicsr": "constant_input.weight",
    "flaxmodels": "synthesis_network/const",
}
"""One characteristic name of each naming scheme: that of the network's constant input."""


def naming_of(arrays: Mapping[str, np.ndarray]) -> Naming | None:
    """Recognises the naming scheme of a network's arrays by one characteristic name.

    Returns:
        `nvidia` (torch), `tensorflow` (NVIDIA's), `rosinality`, `basicsr`, `clean` (GFPGAN's
        networks without equalised learning rates), `flaxmodels`, or None.
    """
    naming = next((name for name, sign in SIGNS.items() if sign in arrays), None)
    return "clean" if naming == "basicsr" and is_clean(arrays) else naming


def to_nvidia(arrays: Mapping[str, np.ndarray], naming: Naming) -> Arrays:
    """Converts arrays to NVIDIA's torch names and layouts; unknown arrays keep their names.

    Args:
        arrays: Arrays of a generator, by the names in its file.
        naming: Their naming scheme, a result of `naming_of`.

    Raises:
        CheckpointError: If an array has fewer axes than it has in any network.
    """
    try:
        return {name: np.asarray(value) for name, value in _to_nvidia(arrays, naming)}
    except (ValueError, IndexError) as error:
        raise CheckpointError(
            f"the network has an array of an impossible shape ({error})"
        ) from None


def _to_nvidia(
    arrays: Mapping[str, np.ndarray], naming: Naming
) -> Iterable[tuple[str, np.ndarray]]:
    arrays = {k: v for k, v in arrays.items() if not k.endswith(FILTERS)}
    if naming == "nvidia":
        return arrays.items()
    if naming == "flaxmodels":
        arrays, naming = dict(_flaxmodels_to_tensorflow(arrays)), "tensorflow"
    if naming == "tensorflow":
        return _from_tensorflow(arrays)
    if naming == "clean":
        arrays = to_basicsr(arrays)
    if naming in ("basicsr", "clean"):
        arrays = {_basicsr_to_rosinality(name, v): v for name, v in arrays.items()}
    return _from_rosinality(arrays)


_TF_LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}
_TF_ARRAYS = {
    "weight": "weight",
    "bias": "bias",
    "noise_strength": "noise_strength",
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
}


def _from_tensorflow(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in arrays.items():
        if name == "dlatent_avg":
            yield "mapping.w_avg", value
        elif name == "synthesis/4x4/Const/const":
            yield "synthesis.b4.const", value[0]
        elif match := re.fullmatch(r"mapping/(Dense(\d+)|LabelEmbed)/(weight|bias)", name):
            layer = f"fc{match[2]}" if match[2] else "embed"
            yield f"mapping.{layer}.{match[3]}", value.T
        elif match := re.fullmatch(r"synthesis/noise(\d{1,2})", name):
            yield f"{_noisy_layer(int(match[1]))}.noise_const", value.reshape(value.shape[-2:])
        elif (
            (match := re.fullmatch(r"synthesis/(\d+)x\1/(\w+)/(\w+)", name))
            and match[2] in _TF_LAYERS
            and match[3] in _TF_ARRAYS
        ):
            layer = f"synthesis.b{match[1]}.{_TF_LAYERS[match[2]]}"
            yield f"{layer}.{_TF_ARRAYS[match[3]]}", _tf_array(value, match[2], match[3])
        elif name not in ("lod", "mapping/lod", "synthesis/lod"):
            yield name, value


def _tf_array(value: np.ndarray, layer: str, array: str) -> np.ndarray:
    if array == "weight" and value.ndim == 4:
        value = value[::-1, ::-1] if layer == "Conv0_up" else value
        return value.transpose(3, 2, 0, 1)
    if array == "mod_weight":
        return value.T
    return np.asarray(value + np.asarray(1, value.dtype)) if array == "mod_bias" else value


_ROSINALITY_ARRAYS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "activate.bias": "bias",
    "noise.weight": "noise_strength",
    "bias": "bias",
}


def _from_rosinality(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in arrays.items():
        if name == "input.input":
            yield "synthesis.b4.const", value[0]
        elif name == "latent_avg":
            yield "mapping.w_avg", value
        elif match := re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", name):
            yield f"mapping.fc{int(match[1]) - 1}.{match[2]}", value
        elif match := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
            yield f"{_noisy_layer(int(match[1]))}.noise_const", value.reshape(value.shape[-2:])
        elif (
            match := re.fullmatch(
                r"(conv1|convs\.(\d{1,2})|to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name
            )
        ) and match[4] in _ROSINALITY_ARRAYS:
            if match[1].startswith("to_rgb"):
                layer = f"synthesis.b{2 ** (int(match[3]) + 3) if match[3] else 4}.torgb"
            else:
                layer = _noisy_layer(int(match[2]) + 1 if match[2] else 0)
            array = _ROSINALITY_ARRAYS[match[4]]
            if array in ("noise_strength", "bias"):
                value = value.reshape(() if array == "noise_strength" else (-1,))
            yield f"{layer}.{array}", value[0] if array == "weight" else value
        else:
            yield name, value


def _noisy_layer(number: int) -> str:
    """The name of the layer that a noise map belongs to, counted from the map at 4 px.

    Example:
        >>> [_noisy_layer(n) for n in (0, 1, 2, 3)]
        ['synthesis.b4.conv1', 'synthesis.b8.conv0', 'synthesis.b8.conv1', 'synthesis.b16.conv0']
    """
    resolution = 2 ** ((number + 1) // 2 + 2)
    return f"synthesis.b{resolution}.conv{(number + 1) % 2 if number else 1}"


_FLAX_ARRAYS = {
    "conv/weight": "weight",
    "conv/bias": "bias",
    "noise_strength": "noise_strength",
    "affine/weight": "mod_weight",
    "affine/bias": "mod_bias",
}


def _flaxmodels_to_tensorflow(
    arrays: Mapping[str, np.ndarray],
) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in arrays.items():
        if name == "synthesis_network/const":
            yield "synthesis/4x4/Const/const", value.transpose(0, 3, 1, 2)
        elif name == "mapping_network/w_avg":
            yield "dlatent_avg", value
        elif match := re.fullmatch(
            r"mapping_network/(fc(\d+)|label_embedding)/(weight|bias)", name
        ):
            layer = f"Dense{match[2]}" if match[2] else "LabelEmbed"
            yield f"mapping/{layer}/{match[3]}", value
        elif match := re.fullmatch(
            r"synthesis_network/block_(\d{1,5})x\1/(torgb|layer[01])/(.+)", name
        ):
            resolution, layer, array = int(match[1]), match[2], match[3]
            number = (
                0 if resolution == 4 else 2 * resolution.bit_length() - 7 + int(layer[-1] == "1")
            )
            first = "Conv" if resolution == 4 else "Conv0_up"
            theirs = {"torgb": "ToRGB", "layer0": first, "layer1": "Conv1"}[layer]
            if array == "noise_const":
                yield f"synthesis/noise{number}", value[..., 0]
            else:
                prefix = f"synthesis/{resolution}x{resolution}/{theirs}"
                yield f"{prefix}/{_FLAX_ARRAYS.get(array, array)}", value
        else:
            yield name, value


def _basicsr_to_rosinality(name: str, value: np.ndarray) -> str:
    name = name.replace("style_mlp.", "style.").replace("constant_input.weight", "input.input")
    name = name.replace("style_convs.", "convs.").replace("style_conv1.", "conv1.")
    name = name.replace("modulated_conv", "conv").replace("noises.noise", "noises.noise_")
    if re.fullmatch(r"(conv1|convs\.\d+)\.weight", name) and value.size == 1:
        return name.replace(".weight", ".noise.weight")
    if re.fullmatch(r"(conv1|convs\.\d+)\.bias", name):
        return name.replace(".bias", ".activate.bias")
    return name
