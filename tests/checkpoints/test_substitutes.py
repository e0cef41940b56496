"""What a file lacks: noise maps."""

import numpy as np
import pytest

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.describe import describe
from perceptual_jax.checkpoints.foreign.convert import MissingArrayError, convert, convert_file
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.helpers.checkpoint_writers import nvidia_torch, torch_zip
from tests.helpers.foreign_networks import basicsr_arrays, nvidia_arrays, rosinality_arrays

NOISE = ("noise_const", "noise_strength")


@pytest.mark.parametrize("write", [dict, rosinality_arrays, basicsr_arrays])
def test_maps_that_lack_are_drawn_from_a_fixed_seed_and_said(tmp_path, write):
    whole = write(nvidia_arrays())
    arrays = {k: v for k, v in whole.items() if not k.startswith("noises.") and NOISE[0] not in k}
    assert len(arrays) == len(whole) - 5
    path, out = tmp_path / "file.pt", tmp_path / "out.safetensors"
    path.write_bytes(torch_zip({"g_ema": arrays}))
    results = [convert_file(path, out) for _ in range(2)]
    assert "noise 5 maps drawn from seed 0, as the file has none" in describe(results[0])
    maps = [[v for k, v in r.arrays.items() if k.endswith(NOISE[0])] for r in results]
    draws = np.concatenate([x.ravel() for x in maps[0]])
    np.testing.assert_array_equal(draws, np.concatenate([x.ravel() for x in maps[1]]))
    # Four standard errors of 656 draws; and no two maps are alike.
    assert (draws.mean(), draws.std()) == pytest.approx((0, 1), abs=0.16)
    assert not np.array_equal(maps[0][1], maps[0][2])
    # The other arrays are those of the whole file, so the strengths are the file's.
    (tmp_path / "whole.pt").write_bytes(torch_zip({"g_ema": whole}))
    expected = convert(read_checkpoint(tmp_path / "whole.pt")).arrays
    for name, value in expected.items():
        if not name.endswith(NOISE[0]):
            np.testing.assert_array_equal(results[0].arrays[name], value)
    for ours, drawn in zip(load_generator(out).noise_maps(), maps[0], strict=True):
        np.testing.assert_array_equal(ours, drawn)
    assert store.load(out).metadata["about"]["noise"].startswith("5 maps drawn")


def test_layers_without_noise_get_none(tmp_path):
    arrays = {k: v for k, v in nvidia_arrays().items() if not k.endswith(NOISE)}
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G_ema": arrays}))
    result = convert(read_checkpoint(tmp_path / "own.pkl"))
    assert result.about["noise"] == "none, as the layers take no noise"
    strengths = [v for k, v in result.arrays.items() if k.endswith("noise_strength")]
    assert len(strengths) == 5
    assert not any(strengths)


def test_a_file_that_lacks_some_maps_is_not_whole(tmp_path):
    arrays = rosinality_arrays(nvidia_arrays())
    del arrays["noises.noise_2"]
    (tmp_path / "file.pt").write_bytes(torch_zip({"g_ema": arrays}))
    with pytest.raises(MissingArrayError, match=r"1 of \d+ arrays, .*b8.conv1.noise_const"):
        convert(read_checkpoint(tmp_path / "file.pt"))
