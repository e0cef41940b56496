"""Trained likelihoods as files: those that come with the package, and users' own.

A file holds the folded weights and, in its metadata, the network's config and its training data
(`weights/README.md` is the model card of the shipped ones).
"""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.errors import UsageError
from perceptual_jax.generator.arrays import named_params
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.pixelcnn import folded_network, weight_shapes
from perceptual_jax.validation import ConfigError, from_dict

ARCHITECTURE = "conditional_pixelcnn"
NOT_LEARNED = frozenset({"auto", "l2", "dct_box", "blur", "faded"})
"""Data terms without a model."""

_FOLDER = Path(__file__).parent / "weights"


def shipped_models() -> dict[str, Path]:
    """The likelihoods that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}


def save_model(path: str | os.PathLike[str], model: Likelihood, about: dict[str, Any]) -> None:
    """Writes a likelihood.

    Args:
        path: Path of the file.
        model: A likelihood with a folded network.
        about: Further metadata, such as data, profile and steps of the training.

    Raises:
        WriteError: If it cannot be written.
    """
    named = named_params(model.network)
    arrays = {name: np.asarray(array, np.float32) for name, array in named.items()}
    metadata = {"architecture": ARCHITECTURE, "config": dataclasses.asdict(model.config)}
    store.save(Path(path), arrays, metadata | {"about": about})


def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    min_log_scale: float | None = None,
) -> Likelihood:
    """A likelihood by the name of a shipped one, or from a file.

    Args:
        name_or_path: A name of `shipped_models`, or the path of a file that ends in
            `.safetensors`.
        dtype: Type of the activations of the network's body.
        min_log_scale: Lower bound of log-scales, see `Likelihood`.

    Raises:
        UsageError: If there is no such name.
        WeightsError: If the file cannot be read or does not hold a likelihood.
    """
    path = model_path(name_or_path)
    arrays, metadata = store.load(path)
    if metadata["architecture"] != ARCHITECTURE:
        raise WeightsError(
            f"{path} holds a {metadata['architecture']}, not a degradation model; "
            "train one with perceptual-jax train-degradation"
        )
    try:
        config = from_dict(PixelCNNConfig, metadata["config"])
    except (ConfigError, TypeError) as error:
        raise WeightsError(f"{path} does not hold a degradation model: {error}") from None
    expected = weight_shapes(config)
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        name = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )[0]
        raise WeightsError(
            f"{path} does not fit its config: {name} should be {expected.get(name)}, "
            f"got {found.get(name)}"
        )
    network = folded_network(config, {name: jnp.asarray(array) for name, array in arrays.items()})
    return Likelihood(network, min_log_scale=min_log_scale, dtype=dtype)


def files_sha256(degradation: str) -> str:
    """SHA-256 of the model files that a config's `degradation` can select."""
    digest = hashlib.sha256()
    paths = [] if degradation in NOT_LEARNED else [model_path(degradation)]
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise WeightsError(f"cannot read {path} ({error.strerror})") from error
    return digest.hexdigest()


def model_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Path of the file of a likelihood.

    Raises:
        UsageError: If it is neither a shipped one's name nor the path of a file.
    """
    path = Path(name_or_path)
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        if not path.is_file():
            raise UsageError(f"there is no degradation model {path}")
        return path
    known = shipped_models()
    if str(path) not in known:
        raise UsageError(
            f"no degradation model is called {str(path)!r}; models are {', '.join(known)}, "
            "and the path of a file ends in .safetensors"
        )
    return known[str(path)]
