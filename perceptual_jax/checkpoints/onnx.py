"""Runs networks that are ONNX files, by onnxruntime, which extras of this package install."""

import importlib.util
from typing import Any

import numpy as np
from jaxtyping import UInt8


def is_installed() -> bool:
    """Whether onnxruntime can be imported."""
    return importlib.util.find_spec("onnxruntime") is not None


def session(onnx: UInt8[np.ndarray, " n"], *, threads: int = 1) -> Any:
    """An inference session of onnxruntime on the processor; onnxruntime must be installed.

    Args:
        onnx: The bytes of the file.
        threads: Threads of an operation.
    """
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx.tobytes(), options, providers=["CPUExecutionProvider"])
