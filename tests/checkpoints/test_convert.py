"""The same narrow network through every format is the same generator."""

import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.describe import describe
from perceptual_jax.checkpoints.foreign.convert import (
    ArchitectureError,
    MissingArrayError,
    UnexpectedArrayError,
    WrongShapeError,
    convert,
    convert_file,
)
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.checkpoints.untrusted.readers import Checkpoint, Network, read_checkpoint
from tests.helpers.checkpoint_writers import (
    nvidia_tensorflow,
    nvidia_torch,
    torch_stream,
    torch_zip,
)
from tests.helpers.foreign_networks import (
    RESOLUTIONS,
    basicsr_arrays,
    flaxmodels_arrays,
    mobilestylegan_arrays,
    nvidia_arrays,
    rosinality_arrays,
    tensorflow_arrays,
)

CLAMP = {
    f"synthesis.b{r}.{layer}.conv_clamp": 1 for r in RESOLUTIONS for layer in ("conv1", "torgb")
}


def formats(arrays):
    """Files of one network, by a name of their format."""
    mean = {"latent_avg": arrays["mapping.w_avg"]}
    theirs = {"g_ema": rosinality_arrays(arrays), **mean}
    plain = {k: v for k, v in arrays.items() if not k.endswith("resample_filter")}
    return {
        "nvidia.pkl": nvidia_torch({"G_ema": arrays}),
        "tensorflow.pkl": nvidia_tensorflow(tensorflow_arrays(arrays)),
        "rosinality.pt": torch_zip(theirs),
        "older.pt": torch_stream(theirs),
        "state_dict.pth": torch_zip(arrays),
        "plain.safetensors": safetensors.numpy.save(plain),
    }


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The converted file of every format."""
    folder = tmp_path_factory.mktemp("formats")
    with h5py.File(folder / "flaxmodels.h5", "w") as file:
        for name, value in flaxmodels_arrays(nvidia_arrays()).items():
            file[name] = value
    convert_file(folder / "flaxmodels.h5", folder / "flaxmodels.h5.safetensors")
    for name, data in formats(nvidia_arrays()).items():
        (folder / name).write_bytes(data)
        convert_file(folder / name, folder / f"{name}.safetensors")
    return {path.stem: path for path in folder.glob("*.*.safetensors")}


def test_all_formats_give_the_same_arrays(converted):
    assert len(converted) == 7
    expected, about = store.load(converted["nvidia.pkl"])
    assert about["config"]["channels"] == [6, 5, 4]
    assert about["about"] == {"format": "nvidia-torch", "network": "G_ema", "names": "nvidia"}
    for name, path in converted.items():
        arrays, metadata = store.load(path)
        assert metadata["config"] == about["config"], name
        assert arrays.keys() == expected.keys()
        for key, value in arrays.items():
            # TensorFlow's and flaxmodels' files keep a style's bias without its 1.
            loose = name in ("tensorflow.pkl", "flaxmodels.h5") and key.endswith("affine.bias")
            np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-6 if loose else 0)


def test_the_picture_is_the_same_whatever_the_format(converted):
    @jax.jit
    def picture(generator):
        w = generator.mapping(jnp.arange(7.0))
        styles = jnp.broadcast_to(w, (generator.num_styles, 6))
        return generator.synthesis(styles, generator.noise_maps())

    pictures = [picture(load_generator(path)) for path in converted.values()]
    assert pictures[0].shape == (16, 16, 3)
    assert float(jnp.std(pictures[0])) > 0.1
    for other in pictures[1:]:
        np.testing.assert_allclose(other, pictures[0], atol=1e-6 * float(jnp.abs(other).max()))


def test_labels_and_clamps_are_inferred(tmp_path):
    arrays = nvidia_arrays(c_dim=3)
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G_ema": arrays}, attributes=CLAMP))
    config = convert_file(tmp_path / "own.pkl", tmp_path / "own.safetensors").config
    assert (config["c_dim"], config["z_dim"], config["conv_clamp"]) == (3, 7, 1.0)
    assert load_generator(tmp_path / "own.safetensors").w_mean.shape == (6,)


def test_a_mean_that_lacks_is_estimated(tmp_path):
    arrays = nvidia_arrays()
    (tmp_path / "gfpgan.pth").write_bytes(torch_zip({"params_ema": basicsr_arrays(arrays)}))
    result = convert_file(tmp_path / "gfpgan.pth", tmp_path / "out.safetensors")
    assert result.about["w_mean"] == "estimated from 10000 latents"
    generator = load_generator(tmp_path / "out.safetensors")
    z = jax.random.normal(jax.random.key(1), (4000, 7))
    mean = jax.jit(jax.vmap(generator.mapping))(z).mean(axis=0)
    np.testing.assert_allclose(result.arrays["w_mean"], mean, atol=0.1)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_small_types_become_float32(tmp_path, dtype):
    arrays = {k: v.astype(dtype) for k, v in nvidia_arrays().items()}
    path = tmp_path / "half.pth"
    path.write_bytes(torch_zip({"g_ema": arrays}))
    assert read_checkpoint(path).networks["g_ema"].arrays["mapping.w_avg"].dtype == dtype
    ours = convert(read_checkpoint(path)).arrays
    assert ours["w_mean"].dtype == np.float32
    np.testing.assert_array_equal(ours["w_mean"], arrays["mapping.w_avg"].astype(np.float32))


def test_the_network_asked_for_is_taken(tmp_path):
    one, two = nvidia_arrays(seed=1), nvidia_arrays(seed=2)
    (tmp_path / "both.pkl").write_bytes(
        nvidia_torch({"G": one, "D": {"b4.x": one["mapping.w_avg"]}})
    )
    checkpoint = read_checkpoint(tmp_path / "both.pkl")
    raw = convert(checkpoint, which="raw").arrays["w_mean"]
    np.testing.assert_array_equal(raw, one["mapping.w_avg"])
    with pytest.raises(CheckpointError, match="has no ema network, but 'G'"):
        convert(checkpoint)
    (tmp_path / "both.pkl").write_bytes(nvidia_torch({"G": one, "G_ema": two}))
    mean = convert(read_checkpoint(tmp_path / "both.pkl")).arrays["w_mean"]
    np.testing.assert_array_equal(mean, two["mapping.w_avg"])


def of(arrays, **attributes):
    return Checkpoint("nvidia-torch", {"G_ema": Network(arrays, attributes, "Generator")}, {}, {})


def test_missing_unexpected_and_wrong_arrays_are_told_apart():
    arrays = nvidia_arrays()
    without = {k: v for k, v in arrays.items() if k != "synthesis.b8.conv0.affine.weight"}
    with pytest.raises(MissingArrayError, match=r"lacks 1 of \d+ arrays.*b8.conv0.affine.weight"):
        convert(of(without))
    with pytest.raises(UnexpectedArrayError, match=r"1 arrays that .* synthesis.b8.extra"):
        convert(of(arrays | {"synthesis.b8.extra": np.zeros(2)}))
    wrong = arrays | {"synthesis.b8.conv0.weight": np.zeros((5, 6, 1, 1), np.float32)}
    with pytest.raises(WrongShapeError, match=r"b8.conv0.weight should have the shape \(5, 6, 3"):
        convert(of(wrong))
    nan = arrays | {"mapping.w_avg": np.full(6, np.nan, np.float32)}
    with pytest.raises(CheckpointError, match=r"mapping.w_avg has NaN"):
        convert(of(nan))


@pytest.mark.parametrize(
    ("extra", "attributes", "message"),
    [
        ({"synthesis.b8.skip.weight": np.zeros(1)}, {}, "architecture 'resnet'"),
        ({}, {"synthesis.architecture": "orig"}, "architecture 'orig'"),
        ({}, {"init_kwargs.architecture": "resnet"}, "architecture 'resnet'"),
        ({"synthesis.L0_36_512.weight": np.zeros(1)}, {}, "a StyleGAN3"),
        ({"x/8x8/ToRGB_lod3/weight": np.zeros(1)}, {}, "a StyleGAN1"),
        ({}, {"a.conv_clamp": 256, "b.conv_clamp": 128}, "several values"),
    ],
)
def test_other_architectures_are_refused_by_name(extra, attributes, message):
    with pytest.raises(ArchitectureError, match=message):
        convert(of(nvidia_arrays() | extra, **attributes))


def test_a_file_without_a_generator_is_refused():
    networks = {"D": Network({"b4.conv.weight": np.zeros(1)}, {}, "Discriminator")}
    with pytest.raises(ArchitectureError, match="no StyleGAN2 generator: it has 'D'"):
        convert(Checkpoint("nvidia-torch", networks, {}, {}))


def test_reading_imports_neither_torch_nor_tensorflow(converted):
    code = (
        "import sys; from pathlib import Path;"
        "from perceptual_jax.checkpoints.foreign.convert import convert;"
        "from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint;"
        "convert(read_checkpoint(Path(sys.argv[1])));"
        "assert not {'torch', 'tensorflow', 'dnnlib'} & sys.modules.keys()"
    )
    path = str(converted["nvidia.pkl"]).removesuffix(".safetensors")
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_a_mobilestylegan_from_its_training(tmp_path):
    arrays = mobilestylegan_arrays()
    path = tmp_path / "mobile.ckpt"
    path.write_bytes(torch_zip({"state_dict": arrays, "epoch": 3}))
    result = convert_file(path, tmp_path / "out.safetensors")
    assert describe(result) == "MobileStyleGAN, 32 px, W of 6"
    generator = load_generator(tmp_path / "out.safetensors")
    # The student's second layer, from the definition: a scaled input, convolved, demodulated.
    x = np.random.default_rng(1).normal(size=(2, 5, 5))
    w = np.random.default_rng(2).normal(size=6)
    name, gain = "student.layers.0.conv1.conv", (2 * 9) ** -0.5
    modulation = arrays[f"{name}.modulation.weight"] @ w + arrays[f"{name}.modulation.bias"]
    kernel = (
        arrays[f"{name}.weight_permute"][:, :, 0, 0, None, None]
        * (arrays[f"{name}.weight_dw"][:, 0])
    )
    style = arrays[f"{name}.style_inv"][0, 0, :, 0, 0]
    norm = np.sqrt(((gain * style[:, None, None] * kernel) ** 2).sum(axis=(1, 2, 3)) + 1e-8)
    window = (gain * modulation)[:, None, None] * x[:, 1:4, 1:4]
    expected = (kernel * window).sum(axis=(1, 2, 3)) / norm
    ours = result.arrays
    scale = w @ ours["blocks.0.conv1.affine.weight"] + ours["blocks.0.conv1.affine.bias"]
    middle = (ours["blocks.0.conv1.depthwise"].transpose(2, 0, 1) * x[:, 1:4, 1:4]).sum((1, 2))
    np.testing.assert_allclose((scale * middle) @ ours["blocks.0.conv1.pointwise"], expected, 1e-5)
    picture = generator.synthesis(jnp.zeros((generator.num_styles, 6)), generator.noise_maps())
    assert picture.shape == (32, 32, 3)
    del arrays["student.conv1.bias"]
    path.write_bytes(torch_zip({"state_dict": arrays}))
    with pytest.raises(CheckpointError, match=r"lacks student.conv1.bias"):
        convert(read_checkpoint(path))
