"""The verbs about degradations: make them, learn them, draw from them, recognise them."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from perceptual_jax.cli.common import (
    Folder,
    Inputs,
    Number,
    conclude,
    enable_compilation_cache,
    optional,
    progress_bar,
    say,
)


@dataclasses.dataclass(frozen=True)
class Degrade:
    """Degrade clean faces, to have something to restore."""

    inputs: Inputs
    """Pictures, folders (searched recursively) and globs."""
    out: Folder
    """Folder for the degraded pictures."""
    kind: Annotated[str | None, optional("none", metavar="KIND")] = None
    """sr32: reduced to 32 pixels; jpeg10: JPEG of quality 10; blur4: Gaussian blur of 4 pixels;
    noise25: white noise of 25 levels of 255; and so with other numbers."""
    profile: Annotated[str | None, optional("none", metavar="NAME|FILE")] = None
    """In place of a kind, a random degradation: jpeg, jpeg_resized, superres, old_photo,
    real_world, blind (any of these), or a TOML file. Writes what was drawn to degraded.jsonl."""
    seed: Number = 0
    """Of what is random."""

    def run(self) -> int:
        """Degrades, lists what failed, and counts."""
        from perceptual_jax.jobs.degrade import degrade_files

        with progress_bar("degrading") as progress:
            done = degrade_files(
                self.inputs,
                self.out,
                kind=self.kind,
                profile=self.profile,
                seed=self.seed,
                progress=progress,
            )
        counts = f"degraded {len(done.written)}, failed {len(done.failed)}; results in {self.out}"
        return conclude(done.failed, counts)


@dataclasses.dataclass(frozen=True)
class TrainDegradation:
    """Learn how pictures degrade: train p(degraded | restored).

    Goes on where an earlier training in the same folder stopped.
    """

    data: Annotated[tuple[str, ...], arg(metavar="DIR|tfds:NAME...")]
    """Clean pictures: folders, each with a slice at its end or not, such as faces[:-100], and
    prepared datasets, such as tfds:celeb_a_hq/256."""
    held_out: Annotated[tuple[str, ...], arg(metavar="DIR|tfds:NAME...")]
    """The same, for the evaluations that choose the model; not trained on."""
    profile: Annotated[str, arg(metavar="NAME|FILE")]
    """How they degrade: a name as for degrade, or a TOML file."""
    out: Folder
    """Folder for checkpoints, log and models."""
    preset: Literal["fast", "paper"] = "fast"
    """The network: the shipped one, or the paper's."""
    steps: Number = 20_000
    """Steps of the whole training."""
    batch_size: Number = 32
    """Crops in a step, shared by the devices."""
    crop: Number = 48
    """Pixels of a side of a crop."""
    size: Number = 256
    """Pictures are first reduced to this many pixels of the shorter side."""
    learning_rate: Annotated[float, arg(metavar="X")] = 2e-3
    """Peak of Adam's learning rate."""
    evaluate_every: Number = 1000
    """Steps between evaluations."""
    checkpoint_every: Number = 500
    """Steps that an interruption costs at most."""
    reconstructions: Annotated[str | None, optional("none", metavar="DIR")] = None
    """A generator's versions of some of the pictures, under their names, to take now and then
    for the original."""
    init_from: Annotated[str | None, optional("random", metavar="MODEL")] = None
    """A trained model whose weights to begin with."""
    seed: Number = 0
    """Of everything random."""

    def run(self) -> int:
        """Trains, and says which model is best."""
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
                report=say,
                progress=progress,
            )
        return conclude((), str(summary))


Model = Annotated[str, arg(metavar="NAME|FILE")]


@dataclasses.dataclass(frozen=True)
class SampleDegradation:
    """Draw what a picture may degrade to, under a learned model: exact samples."""

    image: Positional[Annotated[Path, arg(metavar="IMAGE")]]
    """A clean picture."""
    out: Annotated[Path, arg(metavar="FILE")]
    """PNG for the samples; of several, NAME_0.png, NAME_1.png and so on."""
    model: Model = "jpeg"
    """A shipped model, jpeg or blind, or a trained one's file."""
    samples: Annotated[int, arg(aliases=["-n"], metavar="N")] = 1
    """How many."""
    size: Number = 256
    """A larger picture is first reduced to this many pixels of the shorter side."""
    quality: Annotated[int | None, optional("unknown", metavar="N")] = None
    """JPEG quality to tell the model."""
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    """1 is exact; less keeps to what is likely."""
    seed: Number = 0
    """Another seed, other samples."""

    def run(self) -> int:
        """Draws, and names the files."""
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
                progress=progress,
            )
        return conclude((), f"drew {', '.join(map(str, paths))}")


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Say how a picture degraded, by its pixels: JPEG quality and grid, with probabilities."""

    inputs: Inputs
    """Pictures, folders (searched recursively) and globs."""
    model: Model = "jpeg"
    """A shipped model, or a trained one's file."""

    def run(self) -> int:
        """Prints a line for each picture."""
        enable_compilation_cache()
        from perceptual_jax.jobs.sample import inspect_files

        failed = inspect_files(self.inputs, model=self.model, report=print)
        for source, reason in failed:
            say(f"{source}: {reason}")
        return 1 if failed else 0
