"""The verbs of a preference study: make its page, analyse the answers."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg
from tyro.conf import subcommand as verb

from perceptual_jax.cli.common import Number, enable_compilation_cache, optional
from perceptual_jax.cli.console import USUAL, Console, conclude, progress_bar, say, show


@dataclasses.dataclass(frozen=True)
class Make:
    """Write a blind page that asks, pair by pair, which of two methods' results is better.

    The page runs in any browser and sends nothing; each rater saves a file of answers. The key,
    STUDY.key.json beside it, says whose picture is whose: do not give it to the raters.
    """

    a: Positional[Annotated[str, arg(metavar="A")]]
    """Folder of the first method: of a job, or of pictures."""
    b: Positional[Annotated[str, arg(metavar="B")]]
    """Folder of the second method, with results of the same names."""
    out: Annotated[Path, arg(metavar="STUDY.html")]
    """File for the page."""
    reference: Annotated[str | None, optional("none", metavar="DIR")] = None
    """Pictures of the same names to show above each pair, such as the inputs."""
    question: Annotated[str | None, optional("the paper's", metavar="TEXT")] = None
    """The question to the raters."""
    pairs: Annotated[int | None, optional("all", metavar="N")] = None
    """Number of pairs, drawn from all."""
    catches: Annotated[int | None, optional("one for ten pairs", metavar="N")] = None
    """Number of catch trials, whose answer is known."""
    ties: bool = False
    """Allow the answer that there is no difference."""
    size: Number = 768
    """Longer side of the pictures in pixels; larger ones are reduced."""
    seed: Number = 0
    """Seed of all draws."""
    overwrite: bool = False
    """Replace files that exist; answers to the replaced page no longer fit."""
    console: Console = USUAL

    def run(self) -> int:
        """Writes the page and the key."""
        from perceptual_jax.evaluation.study import QUESTION
        from perceptual_jax.jobs.pages.study import make_study

        with progress_bar("pairing") as progress:
            made = make_study(
                self.a,
                self.b,
                self.out,
                reference=self.reference,
                question=self.question or QUESTION,
                pairs=self.pairs,
                catches=self.catches,
                ties=self.ties,
                size=self.size,
                seed=self.seed,
                overwrite=self.overwrite,
                progress=progress,
            )
        counts = f"{made.pairs} pairs and {made.catches} catch trials in {made.page}"
        return conclude(made.failed, f"{counts}; the key, not for raters, is {made.key}")


@dataclasses.dataclass(frozen=True)
class Analyse:
    """Print the preferences of each rater and of all, with exact intervals, and their agreement."""

    files: Positional[Annotated[tuple[Path, ...], arg(metavar="FILE...", help_behavior_hint="")]]
    """Files of answers, and folders of them."""
    key: Annotated[Path | None, optional("beside the files", metavar="STUDY.key.json")] = None
    """The key of the study."""
    max_failed_catches: Number = 1
    """Most catch trials that a rater may fail and still be pooled."""
    json: Annotated[Path | None, optional("none", metavar="FILE")] = None
    """File for the analysis."""
    overwrite: bool = False
    """Replace that file."""
    console: Console = USUAL

    def run(self) -> int:
        """Prints the analysis, and lists the files that cannot be used."""
        from perceptual_jax.io.files import refuse_existing, save_json
        from perceptual_jax.jobs.pages.answers import analyse_study, as_json, lines_of

        if self.json is not None:
            refuse_existing([self.json], overwrite=self.overwrite)
        result, failed = analyse_study(
            self.files, key=self.key, max_failed_catches=self.max_failed_catches
        )
        if self.json is not None:
            save_json(self.json, as_json(result))
        show(*lines_of(result))
        return conclude(failed, f"analysed {len(result.raters)}, failed {len(failed)}")


@dataclasses.dataclass(frozen=True)
class Model:
    """Print how often models prefer the first of two methods: no study, nobody is asked."""

    a: Positional[Annotated[str, arg(metavar="A")]]
    """Folder of the first method: of a job, or of pictures."""
    b: Positional[Annotated[str, arg(metavar="B")]]
    """Folder of the second method, with results of the same names."""
    models: Annotated[tuple[str, ...], arg(metavar="METRIC...")] = ("rank_vgg", "niqe")
    """Metrics of `evaluate` that look at one picture; rank_vgg is rank-vgg (ours)."""
    json: Annotated[Path | None, optional("none", metavar="FILE")] = None
    """File for the preferences."""
    overwrite: bool = False
    """Replace that file."""
    console: Console = USUAL

    def run(self) -> int:
        """Prints the preferences, and lists the pictures that cannot be used."""
        from perceptual_jax.io.files import refuse_existing, save_json

        if self.json is not None:
            refuse_existing([self.json], overwrite=self.overwrite)
        enable_compilation_cache()
        from perceptual_jax.jobs.scoring.model_preference import (
            model_json,
            model_lines,
            prefer_by_models,
        )

        with progress_bar("evaluating") as progress:
            result = prefer_by_models(
                self.a, self.b, models=self.models, report=say, progress=progress
            )
        if self.json is not None:
            save_json(self.json, model_json(result))
        show(*model_lines(result))
        return conclude(result.failed, f"asked {len(result.found)}, failed {len(result.failed)}")


@dataclasses.dataclass(frozen=True)
class Study:
    """Ask people which of two methods' results they prefer."""

    action: (
        Annotated[Make, verb("make")]
        | Annotated[Analyse, verb("analyse")]
        | Annotated[Model, verb("model")]
    )

    def run(self) -> int:
        """Runs the chosen verb."""
        return self.action.run()
