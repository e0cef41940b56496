"""Networks and parameters of metrics, and networks that find faces, read from published files.

    alexnet, vgg16   pickles of nested dicts of arrays: convolutions and LPIPS's weights of channels
    niqe             an `.npz` of the pristine model
    brisque          libsvm's text file of a support vector regression, and a pickle of the ranges
    sface, onet      an ONNX file, which is kept whole
    retinaface       an ONNX file, written as the bytes literal of a Python module

No file is executed or imported: pickles go through the machine of `pickles`, `.npz` is read without
pickles, libsvm's format is parsed here, and so is the module, as a syntax tree.

Convolutions are `conv{i}.weight` [h w in out] and `conv{i}.bias` [out]; LPIPS's heads are
`head{i}` [channels].
"""

import ast
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.checkpoints.untrusted.inert import DamagedCheckpointError
from perceptual_jax.checkpoints.untrusted.numpy_pickles import NUMPY_MAKERS, PickledArray
from perceptual_jax.checkpoints.untrusted.pickles import unpickle

_FEATURES = 36
"""Natural scene statistics of NIQE and BRISQUE."""

RETINAFACE_SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
"""SHA-256 of RetinaFace's ONNX file inside the module."""


def _perceptual(name: str, layers: int) -> Callable[[Mapping[str, bytes]], Arrays]:
    """A reader of the network of this name with LPIPS's heads on five of its layers."""

    def read(files: Mapping[str, bytes]) -> Arrays:
        (content,) = files.values()
        value = _unpickled(content)
        arrays = {}
        for i in range(layers):
            arrays[f"conv{i}.weight"] = _array(value, name, f"Conv_{i}", "kernel")
            arrays[f"conv{i}.bias"] = _array(value, name, f"Conv_{i}", "bias")
        for i in range(5):
            head = _array(value, f"NetLinLayer_{i}", "Conv_0", "kernel")
            arrays[f"head{i}"] = head.reshape(-1)
        return arrays

    return read


def _unpickled(content: bytes) -> Any:
    return unpickle(memoryview(content), NUMPY_MAKERS)[0]


def _array(value: Any, *names: str) -> np.ndarray:
    for name in names:
        if type(value) is not dict or name not in value:
            raise DamagedCheckpointError(f"it has no {'.'.join(names)}")
        value = value[name]
    if not isinstance(value, PickledArray):
        raise DamagedCheckpointError(f"{'.'.join(names)} is not an array")
    return np.ascontiguousarray(value.array(), np.float32)


def _niqe(files: Mapping[str, bytes]) -> Arrays:
    (content,) = files.values()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            mean, covariance = file["mu_pris_param"], file["cov_pris_param"]
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedCheckpointError(f"it is not the pristine model ({error})") from None
    if mean.size != _FEATURES or covariance.shape != (_FEATURES, _FEATURES):
        raise DamagedCheckpointError(f"it has {mean.size} features, expected {_FEATURES}")
    return {"mean": mean.reshape(-1).astype(np.float64), "covariance": covariance}


def _brisque(files: Mapping[str, bytes]) -> Arrays:
    by_end = {path.rsplit(".", 1)[-1]: content for path, content in files.items()}
    ranges = _unpickled(by_end["pickle"])
    try:
        low, high = (np.asarray(ranges[key], np.float64) for key in ("min_", "max_"))
        header, vectors = by_end["txt"].decode("ascii").split("\nSV\n")
        settings = dict(line.split(maxsplit=1) for line in header.splitlines())
        rows = [line.split() for line in vectors.splitlines()]
        weights = np.array([float(row[0]) for row in rows])
        # libsvm leaves out zeros and counts features from 1.
        points = np.zeros((len(rows), _FEATURES))
        for point, row in zip(points, rows, strict=True):
            for pair in row[1:]:
                index, _, number = pair.partition(":")
                point[int(index) - 1] = float(number)
        return {
            "low": low,
            "high": high,
            "weights": weights,
            "vectors": points,
            "gamma": np.asarray(float(settings["gamma"])),
            "rho": np.asarray(float(settings["rho"])),
        }
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"it is not a regression of libsvm ({error})") from None


def _onnx(files: Mapping[str, bytes]) -> Arrays:
    (content,) = files.values()
    return {"onnx": np.frombuffer(content, np.uint8)}


def _retinaface(files: Mapping[str, bytes]) -> Arrays:
    (content,) = files.values()
    try:
        (line,) = ast.parse(content).body
        onnx = ast.literal_eval(line.value) if isinstance(line, ast.Assign) else None
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DamagedCheckpointError(f"it is not one bytes literal ({error})") from None
    if not isinstance(onnx, bytes):
        raise DamagedCheckpointError("it is not one bytes literal")
    if (found := hashlib.sha256(onnx).hexdigest()) != RETINAFACE_SHA256:
        raise DamagedCheckpointError(
            f"its ONNX file has the SHA-256 {found}, expected {RETINAFACE_SHA256}"
        )
    return {"onnx": np.frombuffer(onnx, np.uint8)}


MEASURES: Mapping[str, Callable[[Mapping[str, bytes]], Arrays]] = {
    "alexnet": _perceptual("AlexNet_0", 5),
    "vgg16": _perceptual("VGG16_0", 13),
    "niqe": _niqe,
    "brisque": _brisque,
    "sface": _onnx,
    "retinaface": _retinaface,
    "onet": _onnx,
}
"""Readers of the published files, by architecture; they raise `CheckpointError`."""
