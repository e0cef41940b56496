"""Checks before a training begins, so that it is refused before anything is written."""

from pathlib import Path
from typing import Any

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import load_json, refuse_existing
from perceptual_jax.training.sources import DataError, PictureSource

SETTINGS = "settings.json"
FILES = (
    "checkpoints",
    "log.jsonl",
    "model.safetensors",
    "last.safetensors",
    "loss.png",
    "samples.png",
)
"""Names that a training writes beside its settings."""


def check_counts(**counts: int) -> None:
    """Checks that each number is at least 1.

    Raises:
        UsageError: If one is not.
    """
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")


def check_settings(out: Path, current: dict[str, Any]) -> None:
    """Refuses a folder of another training, or with files that are not a training's.

    Args:
        out: Folder of the training.
        current: The settings that determine its steps.

    Raises:
        UsageError: If the folder cannot be used.
    """
    path = out / SETTINGS
    if not path.exists():
        refuse_existing([out / name for name in FILES], overwrite=False)
        return
    stored = load_json(path) or {}
    if not stored.keys() & current.keys():
        raise UsageError(f"{path} is not that of a training; choose another folder")
    for name in current:
        if stored.get(name) != current[name]:
            raise UsageError(
                f"{out} holds a training with another {name} ({stored.get(name)}, "
                f"not {current[name]}); give its settings again, choose another folder, or give "
                "--overwrite"
            )


def check_sizes(source: PictureSource, crop: int) -> None:
    """Refuses data whose first pictures are smaller than a crop.

    Raises:
        DataError: If one of them is.
    """
    for index in range(min(len(source), 16)):
        height, width, _ = source[index].shape
        if min(height, width) < crop:
            raise DataError(
                f"{source.name(index)} has {width} x {height} pixels, less than the crops of "
                f"{crop}; take smaller crops or larger pictures"
            )
