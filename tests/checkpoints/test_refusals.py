"""What is not served is refused in words for people: images, and what is not a regular file."""

import json
import os
import pathlib
import socket

import ml_dtypes
import numpy as np
import pytest

from perceptual_jax import cli
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.foreign.convert import ArchitectureError, convert, convert_file
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.checkpoints.untrusted.contents import Checkpoint
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, Network, UnknownFormatError
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from perceptual_jax.errors import UsageError
from tests.helpers.checkpoint_writers import nvidia_torch
from tests.helpers.foreign_networks import (
    basicsr_arrays,
    mobilestylegan_arrays,
    nvidia_arrays,
    rosinality_arrays,
    tensorflow_arrays,
)


def of(arrays):
    return Checkpoint("torch-zip", {"g_ema": Network(arrays, {}, "")}, {}, {})


@pytest.mark.parametrize("write", [dict, tensorflow_arrays, rosinality_arrays, basicsr_arrays])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"const": (4, 2)}, r"not square \(4 x 2\): its images have 16 x 8 pixels"),
        ({"const": (4, 8)}, r"not square \(4 x 8\): its images have 16 x 32 pixels"),
        ({"const": (8, 8)}, r"begins with 8 x 8 pixels: its images have 32 x 32 pixels"),
        ({"colours": 4}, r"images have 4 colour channels, and only RGB"),
        ({"colours": 1}, r"images have 1 colour channel, and only RGB"),
    ],
)
def test_other_images_are_refused_in_the_users_words(write, network, message):
    with pytest.raises(ArchitectureError, match=message):
        convert(of(write(nvidia_arrays(**network))))


def test_a_mobilestylegan_of_other_images_is_refused():
    arrays = mobilestylegan_arrays()
    wide = arrays | {"student.input.input": np.zeros((1, 8, 4, 8), np.float32)}
    with pytest.raises(ArchitectureError, match=r"not square \(4 x 8\): .* 32 x 64 pixels"):
        convert(of(wide))
    head = "student.layers.1.to_img.conv.weight"
    with pytest.raises(ArchitectureError, match="1 colour channel"):
        convert(of(arrays | {head: arrays[head][:4]}))


def test_labels_of_the_first_stylegan2_are_refused_by_name():
    arrays = tensorflow_arrays(nvidia_arrays())
    with pytest.raises(ArchitectureError, match="LabelConcat"):
        convert(of(arrays | {"mapping/LabelConcat/weight": np.zeros((3, 6), np.float32)}))


@pytest.fixture(params=["pipe", "socket", "device", "link to a device"])
def irregular(request, tmp_path, monkeypatch):
    if os.name != "posix":
        pytest.skip("these are POSIX's")
    path = tmp_path / "odd.pkl"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            monkeypatch.chdir(tmp_path)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)  # relative, as a long path does not fit
        case "link to a device":
            path.symlink_to("/dev/zero")
        case _:
            return pathlib.Path("/dev/zero")
    return path


def test_what_is_no_regular_file_is_refused_at_once(irregular, tmp_path, capsys):
    for read in (read_checkpoint, load_generator, lambda path: convert_file(path, tmp_path / "x")):
        with pytest.raises(WeightsError, match=r"it is a (pipe|socket|device), not a regular file"):
            read(irregular)
    for command in (["convert", str(irregular), str(tmp_path / "x.safetensors")], ["inspect"]):
        assert cli.main(["weights", *command, *[str(irregular)][: len(command) == 1]]) == 1
        error = capsys.readouterr().err
        assert "not a regular file" in error
        assert error.count("\n") == 1
    assert not list(tmp_path.glob("x*"))


def test_a_folder_is_refused(tmp_path):
    for read in (read_checkpoint, load_generator):
        with pytest.raises(WeightsError, match=r"cannot read .* \(is a directory\)"):
            read(tmp_path)


def test_a_pipe_named_safetensors_is_refused(tmp_path):
    path = tmp_path / "own.safetensors"
    os.mkfifo(path)
    with pytest.raises(WeightsError, match="not a regular file"):
        load_generator(path)


def test_a_converted_file_is_not_converted_again(tmp_path):
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G_ema": nvidia_arrays()}))
    convert_file(tmp_path / "own.pkl", tmp_path / "own.safetensors")
    with pytest.raises(UsageError, match="converted file already; give it to --generator"):
        convert_file(tmp_path / "own.safetensors", tmp_path / "again.safetensors")


SMALL = [ml_dtypes.bfloat16, np.float16, np.float64, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn]


@pytest.mark.parametrize("dtype", SMALL)
def test_safetensors_of_every_type_become_float32(tmp_path, dtype):
    plain = {k: v for k, v in nvidia_arrays().items() if "filter" not in k}
    arrays = {k: np.asarray(np.clip(v, -100, 100)).astype(dtype) for k, v in plain.items()}
    path = tmp_path / "file.safetensors"
    path.write_bytes(safetensors_of(arrays))
    checkpoint = read_checkpoint(path)
    for name, value in checkpoint.networks[""].arrays.items():
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, arrays[name])
    ours = convert(checkpoint).arrays
    assert {value.dtype for value in ours.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(ours["w_mean"], arrays["mapping.w_avg"].astype(np.float32))


def safetensors_of(arrays):
    """The file of arrays of any type; the library's own writer for NumPy knows fewer."""
    names = {"bfloat16": "BF16", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3"}
    names |= {"float16": "F16", "float64": "F64", "complex64": "C64"}
    header, data = {}, b""
    for name, value in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        place = [len(data), len(data) + value.nbytes]
        data += value.tobytes()
        kind = names[value.dtype.name]
        header[name] = {"dtype": kind, "shape": value.shape, "data_offsets": place}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_complex_numbers_are_refused():
    arrays = nvidia_arrays()
    arrays["mapping.fc0.bias"] = arrays["mapping.fc0.bias"].astype(np.complex64)
    with pytest.raises(
        CheckpointError, match=r"mapping.fc0.bias has numbers of the type complex64"
    ):
        convert(of(arrays))


def test_an_unknown_type_is_named(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(safetensors_of({"a": np.ones(2, np.complex64)}))
    with pytest.raises(CheckpointError, match="no StyleGAN2 generator"):
        convert(read_checkpoint(path))
    header = b'{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    with pytest.raises(UnknownFormatError, match="'a' has numbers of the type 'F4'"):
        read_checkpoint(path)
