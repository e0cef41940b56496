"""What a user of the page asks for."""

import dataclasses
import re
from pathlib import PurePosixPath
from typing import get_args

from perceptual_jax.config import RestoreConfig
from perceptual_jax.config_files import override
from perceptual_jax.errors import UsageError
from perceptual_jax.jobs.photographs.options import Which

MAX_BYTES = 64 * 2**20
"""Largest file that is taken. How many pixels it may have is limited when it is read."""

MAX_SAMPLES = 4

DEGRADATIONS = {
    "auto": "find out (auto)",
    "l2": "it was downscaled (l2)",
    "dct_box": "it is a JPEG as it was saved (dct_box)",
    "blur": "it is blurred and noisy (blur)",
    "faded": "it is blurred, and its colours have faded (faded)",
    "jpeg": "a JPEG, by a learned likelihood (jpeg)",
    "blind": "unknown, by a learned likelihood (blind)",
}
"""The data terms that may be asked for, in words. No paths: they would be read on this machine."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A picture and how it is to be restored.

    Raises:
        UsageError: If the file is too large, or a value is not among those that may be chosen.
    """

    data: bytes
    """The content of the file."""
    name: str
    """The name that the user knows the file by."""
    fidelity: float = 0.5
    """0 = natural, 1 = faithful to the input."""
    degradation: str = "auto"
    """A name of `DEGRADATIONS`."""
    samples: int = 1
    """Restorations from different starts."""
    faces: Which = "all"
    """Which faces of a photograph are restored."""

    def __post_init__(self) -> None:
        """Checks the size and the values."""
        if len(self.data) > MAX_BYTES:
            raise UsageError(
                f"expected a file of at most {MAX_BYTES // 2**20} MB, got "
                f"{len(self.data) / 2**20:.0f} MB; reduce the picture first"
            )
        for name, known in (("degradation", (*DEGRADATIONS,)), ("faces", get_args(Which))):
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise UsageError(f"samples must be from 1 to {MAX_SAMPLES}, got {self.samples}")

    def config(self, config: RestoreConfig) -> RestoreConfig:
        """The config of the page with what this request changes.

        Raises:
            ConfigError: If the fidelity is out of its range.
        """
        return override(config, {"fidelity": self.fidelity, "degradation": self.degradation})

    @property
    def file_name(self) -> str:
        """A name for the file that any file system takes and no list of inputs misreads.

        Example:
            >>> [Request(b"", name).file_name for name in ("../@a *b.JPG", "", "été.png", ".png")]
            ['a_b.JPG', 'picture', 't_.png', 'png']
        """
        last = PurePosixPath(self.name.replace("\\", "/")).name
        return re.sub(r"[^A-Za-z0-9.-]+", "_", last)[-80:].strip("._-") or "picture"
