"""The filter of a file is used, or the file refused by it; GFPGAN's clean networks interpolate."""

import jax
import numpy as np
import pytest

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.foreign.convert import convert, convert_file
from perceptual_jax.checkpoints.foreign.resampling import FilterError
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.checkpoints.untrusted.contents import Checkpoint
from perceptual_jax.checkpoints.untrusted.inert import Network
from tests.helpers import reference_stylegan2 as reference
from tests.helpers.checkpoint_writers import torch_zip
from tests.helpers.foreign_networks import (
    CHANNELS,
    basicsr_arrays,
    clean_arrays,
    nvidia_arrays,
    rosinality_arrays,
    tensorflow_arrays,
)

BLURS = ("blur.kernel", "resample_filter")


def with_filter(arrays, filter):
    return {k: filter if k.endswith(BLURS) else v for k, v in arrays.items()}


def of(arrays, **attributes):
    return Checkpoint("torch-zip", {"g_ema": Network(arrays, attributes, "")}, {}, {})


def picture(path, w):
    generator = load_generator(path)
    styles = np.broadcast_to(np.asarray(w, np.float32), (generator.num_styles, 6))
    return jax.jit(generator.synthesis)(styles, generator.noise_maps())


def expected_picture(arrays, w, taps):
    noise = [v for k, v in arrays.items() if k.endswith("noise_const")]
    strengths = [v for k, v in arrays.items() if k.endswith("noise_strength")]
    assert len(noise) == len(strengths) == 2 * len(CHANNELS) - 1
    float64 = {k: np.asarray(v, np.float64) for k, v in arrays.items()}
    return reference.synthesis(float64, np.tile(w, (6, 1)), noise, taps=taps)


@pytest.mark.parametrize("taps", [(0, 1, 1, 0), (1, 2, 1), (1, 1, 1, 1), (1, 4, 6, 4, 1)])
@pytest.mark.parametrize("write", [dict, rosinality_arrays])
def test_the_filter_of_a_file_is_used(tmp_path, taps, write):
    arrays, w = nvidia_arrays(), np.random.default_rng(1).normal(size=6)
    filter = np.outer(taps, taps).astype(np.float32) / sum(taps) ** 2
    filter = filter if write is dict else 4 * filter
    path, out = tmp_path / "file.pt", tmp_path / "out.safetensors"
    path.write_bytes(torch_zip({"g_ema": with_filter(write(arrays), filter)}))
    result = convert_file(path, out)
    words = f"[{' '.join(map(str, taps))}]"
    assert result.about["resample_filter"] == words
    assert store.load(out).metadata["config"]["resample_filter"] == pytest.approx(
        [tap / sum(taps) for tap in taps], abs=1e-6
    )
    expected = expected_picture(arrays, w, taps)
    np.testing.assert_allclose(picture(out, w), expected, atol=2e-5 * np.abs(expected).max())


def test_the_usual_filter_is_not_mentioned():
    for arrays in (nvidia_arrays(), rosinality_arrays(nvidia_arrays())):
        half = {k: v.astype(np.float16) for k, v in arrays.items()}
        for checkpoint in (of(arrays), of(half)):
            got = convert(checkpoint)
            assert got.config["resample_filter"] == (1, 3, 3, 1)
            assert "resample_filter" not in got.about


def test_a_filter_in_the_settings_counts():
    arrays = tensorflow_arrays(nvidia_arrays())
    assert convert(of(arrays, resample_kernel=[1, 3, 3, 1])).config["resample_filter"] == (
        *(1, 3, 3),
        1,
    )
    got = convert(of(arrays, resample_kernel=[1, 1])).config["resample_filter"]
    assert got == (0.5, 0.5)


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (np.eye(4), "no outer product"),
        (np.outer([1, 2, 1], [1, 3, 1]), "no outer product"),
        (np.ones((4, 3)), r"filter of shape \(4, 3\)"),
        (np.ones((40, 40)), r"filter of shape \(40, 40\)"),
        (np.ones(()), "shape"),
        (np.outer([1, -1], [1, -1]), "no finite sum"),
        (np.full((4, 4), np.nan), "no finite sum"),
    ],
)
def test_other_filters_are_refused_by_name(filter, message):
    for arrays in (nvidia_arrays(), rosinality_arrays(nvidia_arrays())):
        with pytest.raises(FilterError, match=message):
            convert(of(with_filter(arrays, filter)))


def test_several_filters_are_refused_and_named():
    arrays = nvidia_arrays()
    arrays["synthesis.b8.conv0.resample_filter"] = np.ones((2, 2), np.float32)
    with pytest.raises(FilterError, match=r"several filters, \[1 3 3 1\] and \[1 1\]"):
        convert(of(arrays))


def test_a_clean_network_is_the_weights_it_was_made_of():
    arrays = nvidia_arrays()
    expected = convert(of(basicsr_arrays(arrays))).arrays
    got = convert(of(clean_arrays(arrays)))
    assert (got.about["names"], got.config["resample_filter"]) == ("clean", "bilinear")
    for name, value in got.arrays.items():
        other = expected[name][::-1, ::-1] if name.endswith("conv0.weight") else expected[name]
        atol = 0.1 if name == "w_mean" else 1e-6 * np.abs(other).max()  # estimated; float32
        np.testing.assert_allclose(value, other, rtol=0, atol=atol)


@pytest.mark.parametrize("prefix", ["", "stylegan_decoder."])
def test_a_clean_network_interpolates(tmp_path, prefix):
    arrays, w = nvidia_arrays(), np.random.default_rng(1).normal(size=6)
    path, out = tmp_path / "file.pth", tmp_path / "out.safetensors"
    clean = {prefix + name: value for name, value in clean_arrays(arrays).items()}
    path.write_bytes(torch_zip({"params_ema": clean}))
    convert_file(path, out)
    expected = expected_picture(arrays, w, "bilinear")
    np.testing.assert_allclose(picture(out, w), expected, atol=2e-5 * np.abs(expected).max())
