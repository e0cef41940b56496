"""The verbs about degradations: apply, learn, sample and recognise them."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from perceptual_jax.cli.common import Folder, Inputs, Number, enable_compilation_cache, optional
from perceptual_jax.cli.console import USUAL, Console, conclude, progress_bar, say, show


@dataclasses.dataclass(frozen=True)
class Degrade:
    """Degrade clean faces, as inputs to be restored."""

    inputs: Inputs
    """Pictures, folders (searched recursively) and globs."""
    out: Folder
    """Folder for the degraded pictures."""
    kind: Annotated[str | None, optional("none", metavar="KIND")] = None
    """sr32: reduced to 32 pixels; jpeg10: JPEG of quality 10; blur4: Gaussian blur of 4 pixels;
    noise25: white noise of 25 levels of 255; likewise with other numbers."""
    profile: Annotated[str | None, optional("none", metavar="NAME|FILE")] = None
    """Instead of a kind, a random degradation: jpeg, jpeg_resized, superres, old_photo,
    real_world, blind (any of these), or a TOML file. Records its draws in degraded.jsonl."""
    seed: Number = 0
    """Seed of all draws."""
    overwrite: bool = False
    """Replace files that exist."""
    console: Console = USUAL

    def run(self) -> int:
        """Degrades the pictures, lists the failures and prints the counts."""
        from perceptual_jax.jobs.degrade import degrade_files

        with progress_bar("degrading") as progress:
            done = degrade_files(
                self.inputs,
                self.out,
                kind=self.kind,
                profile=self.profile,
                seed=self.seed,
                overwrite=self.overwrite,
                report=say,
                progress=progress,
            )
        counts = f"degraded {len(done.written)}, failed {len(done.failed)}; results in {self.out}"
        return conclude(done.failed, counts)


@dataclasses.dataclass(frozen=True)
class TrainDegradation:
    """Learn how pictures degrade: train p(degraded | restored).

    An interrupted training in the same folder is resumed.
    """

    data: Annotated[tuple[str, ...], arg(metavar="DIR|tfds:NAME...")]
    """Clean pictures: folders, optionally with a slice such as faces[:-100], and prepared datasets,
    such as tfds:celeb_a_hq/256."""
    held_out: Annotated[tuple[str, ...], arg(metavar="DIR|tfds:NAME...")]
    """Held-out pictures, given likewise, for the evaluations that select the model."""
    profile: Annotated[str, arg(metavar="NAME|FILE")]
    """The degradation profile: a name as for degrade, or a TOML file."""
    out: Folder
    """Folder for checkpoints, log and models."""
    preset: Literal["fast", "paper"] = "fast"
    """The network: the shipped one, or the paper's."""
    steps: Number = 20_000
    """Number of training steps."""
    batch_size: Number = 32
    """Crops in a step, over all devices."""
    crop: Number = 48
    """Side of a crop in pixels."""
    size: Number = 256
    """Pictures are first reduced to this many pixels of the shorter side."""
    learning_rate: Annotated[float, arg(metavar="X")] = 2e-3
    """Peak of Adam's learning rate."""
    evaluate_every: Number = 1000
    """Steps between evaluations."""
    checkpoint_every: Number = 500
    """Steps between checkpoints."""
    reconstructions: Annotated[str | None, optional("none", metavar="DIR")] = None
    """A generator's reconstructions of some of the pictures, under the same names, which randomly
    replace the originals."""
    init_from: Annotated[str | None, optional("random", metavar="MODEL")] = None
    """A trained model whose weights initialise the training."""
    seed: Number = 0
    """Seed of all draws."""
    overwrite: bool = False
    """Begin anew in a folder that holds another training."""
    console: Console = USUAL

    def run(self) -> int:
        """Trains, and prints which model is best."""
        enable_compilation_cache()
        from perceptual_jax.likelihood.config import PRESETS
        from perceptual_jax.training.fit import Job, fit
        from perceptual_jax.training.step import TrainConfig

        train = TrainConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            crop=self.crop,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )
        job = Job(
            data=self.data,
            held_out=self.held_out,
            profile=self.profile,
            network=PRESETS[self.preset],
            train=train,
            size=self.size,
            reconstructions=self.reconstructions,
            init_from=self.init_from,
        )
        with progress_bar("training") as progress:
            summary = fit(
                job,
                self.out,
                evaluate_every=self.evaluate_every,
                checkpoint_every=self.checkpoint_every,
                overwrite=self.overwrite,
                report=say,
                progress=progress,
            )
        return conclude((), str(summary))


Model = Annotated[str, arg(metavar="NAME|FILE")]


@dataclasses.dataclass(frozen=True)
class SampleDegradation:
    """Draw exact samples of degraded versions of a picture from a learned model."""

    image: Positional[Annotated[Path, arg(metavar="IMAGE")]]
    """A clean picture."""
    out: Annotated[Path, arg(metavar="FILE")]
    """File for the sample: PNG, or WebP, TIFF or BMP by its extension; several are written to
    NAME_0.png, NAME_1.png and so on."""
    model: Model = "jpeg"
    """A shipped model, jpeg or blind, or the file of a trained one."""
    samples: Annotated[int, arg(aliases=["-n"], metavar="N")] = 1
    """Number of samples."""
    size: Number = 256
    """A larger picture is first reduced to this many pixels of the shorter side."""
    quality: Annotated[int | None, optional("unknown", metavar="N")] = None
    """JPEG quality that conditions the model."""
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    """Sampling temperature: 1 is exact, lower values favour likely samples."""
    seed: Number = 0
    """Seed of the draws."""
    overwrite: bool = False
    """Replace files that exist."""
    console: Console = USUAL

    def run(self) -> int:
        """Draws the samples and prints their paths."""
        enable_compilation_cache()
        from perceptual_jax.jobs.sample import sample_file

        with progress_bar("sampling") as progress:
            paths = sample_file(
                self.image,
                self.out,
                model=self.model,
                samples=self.samples,
                size=self.size,
                quality=self.quality,
                temperature=self.temperature,
                seed=self.seed,
                overwrite=self.overwrite,
                report=say,
                progress=progress,
            )
        return conclude((), f"drew {', '.join(map(str, paths))}")


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Infer a picture's degradation from its pixels: JPEG quality and grid, with probabilities."""

    inputs: Inputs
    """Pictures, folders (searched recursively) and globs."""
    model: Model = "jpeg"
    """A shipped model, or the file of a trained one."""
    console: Console = USUAL

    def run(self) -> int:
        """Prints a line for each picture."""
        enable_compilation_cache()
        from perceptual_jax.jobs.sample import inspect_files

        failed = inspect_files(self.inputs, model=self.model, report=show, note=say)
        for source, reason in failed:
            say(f"{source}: {reason}", event="failure", source=source, reason=reason)
        return 1 if failed else 0
