"""The verb `weights`: what is known by name, and checkpoints of other projects."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg
from tyro.conf import subcommand as verb

from perceptual_jax.cli.common import Name, optional
from perceptual_jax.cli.console import USUAL, Console, progress_bar, say, show

Checkpoint = Positional[Annotated[Path, arg(metavar="FILE")]]


@dataclasses.dataclass(frozen=True)
class List:
    """List the generators and measures that are known by name, and whether they are fetched."""

    def run(self) -> int:
        """Prints each with its description and licence."""
        from perceptual_jax.checkpoints import fetch
        from perceptual_jax.checkpoints.measures import ALL

        for entry in ALL:
            path = fetch.cached_path(entry.name, entries=ALL)
            show(f"{entry.name}  {'fetched' if path.exists() else 'not fetched'}")
            show(f"    {entry.description}")
            show(f"    {entry.licence}")
        return 0


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Fetch a generator or measure and convert it; an interrupted download is resumed."""

    name: Name
    """A name of `weights list`."""
    source: Annotated[Path | None, arg(name="from"), optional("the network", metavar="FILE")] = None
    """The published file, if it is already on this machine."""
    console: Console = USUAL

    def run(self) -> int:
        """Prints the path."""
        from perceptual_jax.checkpoints import fetch
        from perceptual_jax.checkpoints.measures import ALL

        with progress_bar("fetching") as progress:
            path = fetch.ensure(
                self.name, report=say, source=self.source, progress=progress, entries=ALL
            )
        show(path)
        return 0


@dataclasses.dataclass(frozen=True)
class Where:
    """Print the path of a fetched generator or measure."""

    name: Name
    """A name of `weights list`."""

    def run(self) -> int:
        """Prints the path."""
        from perceptual_jax.checkpoints import fetch
        from perceptual_jax.checkpoints.measures import ALL

        show(fetch.cached_path(self.name, entries=ALL))
        return 0


@dataclasses.dataclass(frozen=True)
class Verify:
    """Check a fetched generator or measure against the published checksums."""

    name: Name
    """A name of `weights list`."""

    def run(self) -> int:
        """Prints a line for each check."""
        from perceptual_jax.checkpoints import fetch
        from perceptual_jax.checkpoints.measures import ALL

        checks = fetch.verify(self.name, entries=ALL)
        for check in checks:
            show(f"{'ok' if check.ok else 'FAILED':6}  {check.what}: {check.detail}")
        return 0 if all(check.ok for check in checks) else 1


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert a checkpoint to a generator of this project; nothing in the file is executed.

    NVIDIA's pickles (stylegan2, stylegan2-ada, stylegan2-ada-pytorch), torch files (rosinality,
    BasicSR, GFPGAN with its clean networks, pSp, e4e, PTI, whole modules), safetensors, and
    flaxmodels' HDF5 where h5py is installed.
    """

    checkpoint: Checkpoint
    """The file."""
    out: Positional[Annotated[Path, arg(metavar="OUT.safetensors")]]
    """The converted generator, to be given to --generator."""
    which: Literal["ema", "raw"] = "ema"
    """The exponential moving average of the weights, or the raw weights."""
    overwrite: bool = False
    """Replace files that exist."""

    def run(self) -> int:
        """Converts the file and prints a description of the generator."""
        from perceptual_jax.checkpoints.describe import describe
        from perceptual_jax.checkpoints.foreign.convert import convert_file
        from perceptual_jax.errors import UsageError
        from perceptual_jax.io.files import refuse_existing

        # A checkpoint is never replaced by itself, which `convert_file` refuses.
        if self.out.resolve() != self.checkpoint.resolve():
            if self.out.suffix != ".safetensors":
                raise UsageError(f"{self.out} must end in .safetensors, the format that is written")
            refuse_existing([self.out], overwrite=self.overwrite)
        show(f"{self.out}: {describe(convert_file(self.checkpoint, self.out, which=self.which))}")
        return 0


@dataclasses.dataclass(frozen=True)
class InspectFile:
    """Describe the networks in a checkpoint or a generator's file, without converting it."""

    checkpoint: Checkpoint
    """The file."""

    def run(self) -> int:
        """Prints a line for the file and for each of its networks."""
        from perceptual_jax.checkpoints.describe import inspect_file

        for line in inspect_file(self.checkpoint):
            show(line)
        return 0


@dataclasses.dataclass(frozen=True)
class Weights:
    """Generators and measures of the catalogue, and checkpoints of other projects."""

    action: (
        Annotated[List, verb("list")]
        | Annotated[Fetch, verb("fetch")]
        | Annotated[Where, verb("path")]
        | Annotated[Verify, verb("verify")]
        | Annotated[Convert, verb("convert")]
        | Annotated[InspectFile, verb("inspect")]
    )

    def run(self) -> int:
        """Runs the chosen verb."""
        return self.action.run()
