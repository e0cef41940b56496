"""The verb that writes the example faces."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from perceptual_jax.cli.console import USUAL, Console, conclude


@dataclasses.dataclass(frozen=True)
class Examples:
    """Write six degraded example faces into a folder, to try `restore` on."""

    out: Positional[Annotated[Path, arg(metavar="DIR")]] = Path("examples")
    """The folder."""
    overwrite: bool = False
    """Replace files that exist."""
    console: Console = USUAL

    def run(self) -> int:
        """Writes the faces and prints their number."""
        from perceptual_jax.jobs.examples import write_examples

        paths = write_examples(self.out, overwrite=self.overwrite)
        return conclude((), f"wrote {len(paths)} faces into {self.out}")
