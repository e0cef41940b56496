"""The settings of a sequence, beside those of photographs."""

import dataclasses
import math
from typing import Any

from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.photographs.sequences.smoothing import WIDTH
from perceptual_jax.photographs.sequences.steadiness import KEEP


@dataclasses.dataclass(frozen=True)
class SequenceOptions:
    """How the frames of a sequence depend on each other.

    Raises:
        UsageError: If a value is out of its range.
    """

    smoothing: float = WIDTH
    """Frames over which the place of a face is smoothed, as a standard deviation; 0 takes it as it
    was found."""
    warm: float = 0.2
    """Steps of a search that starts from the frame before, as a fraction of those of a search that
    starts anew; 0 starts each frame anew."""
    keep: float = KEEP
    """Largest part of a change that a face takes over at once where the input stands still, from 0
    to 1; 1 takes over all, however it flickers."""

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0 <= self.smoothing < math.inf:
            raise UsageError(f"smoothing must be at least 0 frames, got {self.smoothing}")
        for name in ("warm", "keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be from 0 to 1, got {getattr(self, name)}")

    def to_json(self) -> dict[str, Any]:
        """The settings, for the record."""
        return dataclasses.asdict(self)


STEADY = SequenceOptions()


def warm_config(config: RestoreConfig, fraction: float) -> RestoreConfig:
    """The config of a search that starts from the frame before.

    Its drafts by styles alone, which find a face, are left out where features or a finish follow:
    the face is found.

    Args:
        config: That of a search that starts anew.
        fraction: Fraction of its steps, more than 0.

    Example:
        >>> warm = warm_config(RestoreConfig(), 0.2)
        >>> warm.search.steps, warm.features.steps, warm.finish.steps
        (0, 10, 6)
    """
    every, features = config.features.correct_every, config.features
    moves = features.resolution != 0 and features.steps > 0
    rounds = math.ceil(fraction * features.steps / every) if moves else 0
    finish = math.ceil(fraction * config.finish.steps)
    search = 0 if rounds or finish else math.ceil(fraction * config.search.steps)
    return dataclasses.replace(
        config,
        search=dataclasses.replace(config.search, steps=search),
        features=dataclasses.replace(features, steps=rounds * every),
        finish=dataclasses.replace(config.finish, steps=finish),
    )
