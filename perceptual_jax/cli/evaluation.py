"""The verb `evaluate`: scores of restored pictures, and comparisons of methods."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from perceptual_jax.cli.common import Number, enable_compilation_cache, optional
from perceptual_jax.cli.console import USUAL, Console, conclude, progress_bar, say, show

Restored = Positional[Annotated[str, arg(metavar="RESTORED")]]
Names = Annotated[tuple[str, ...], arg(metavar="METRIC...", help_behavior_hint="(default: usual)")]
Others = Annotated[tuple[str, ...], arg(metavar="DIR...", help_behavior_hint="(default: none)")]


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score restored pictures, and compare methods picture by picture.

    The same command after an interruption computes only what is missing.
    """

    restored: Restored
    """Folder of restored pictures, or of a job, which knows its inputs."""
    original: Annotated[str | None, optional("none", metavar="DIR")] = None
    """Originals, under the same names: for psnr, ssim, ms_ssim, lpips_alex, lpips_vgg, identity,
    landmarks and the distances of sets kid_alex, fid_alex, kid_vgg, fid_vgg."""
    degraded: Annotated[str | None, optional("a job's own", metavar="DIR")] = None
    """Degraded pictures, under the same names: for consistency."""
    versus: Others = ()
    """Folders of other methods, each compared with RESTORED."""
    metrics: Names = ()
    """Names of metrics; the usual ones are all but lpips_vgg, kid_vgg, fid_vgg and rank-vgg (ours):
    rank_vgg, rank_vgg_256 and their medians; identity and landmarks only where onnxruntime is
    installed; mmd2 and mmd2_p only of a job's folder."""
    rankiqa: Annotated[Path | None, optional("none", metavar="FILE")] = None
    """RankIQA's weights, the authors' caffemodel or a torch port: adds rankiqa, rankiqa_median,
    rankiqa_256 and rankiqa_256_median, the columns of the paper's Table 2."""
    size: Number = 256
    """Pixels of the shorter side at which pictures are compared with their originals."""
    json: Annotated[Path | None, optional("none", metavar="FILE")] = None
    """File for all scores, summaries and comparisons."""
    csv: Annotated[Path | None, optional("none", metavar="FILE")] = None
    """File for a row of scores for each picture."""
    parquet: Annotated[Path | None, optional("none", metavar="FILE.parquet")] = None
    """The same as parquet."""
    overwrite: bool = False
    """Replace files that exist."""
    console: Console = USUAL

    def run(self) -> int:
        """Evaluates, prints the tables and lists the failures."""
        from perceptual_jax.errors import UsageError
        from perceptual_jax.io.files import refuse_existing

        files = [path for path in (self.json, self.csv, self.parquet) if path is not None]
        if len(set(files)) < len(files):
            raise UsageError("give --json, --csv and --parquet files of different names")
        if self.parquet is not None and self.parquet.suffix != ".parquet":
            raise UsageError(f"{self.parquet} must end in .parquet, the format that is written")
        refuse_existing(files, overwrite=self.overwrite)
        enable_compilation_cache()
        from perceptual_jax.jobs.scoring.evaluate import evaluate_files
        from perceptual_jax.jobs.scoring.evaluation_tables import (
            table_lines,
            write_json,
            write_table,
        )

        with progress_bar("evaluating") as progress:
            evaluation = evaluate_files(
                self.restored,
                original=self.original,
                degraded=self.degraded,
                versus=self.versus,
                metrics=self.metrics,
                rankiqa=self.rankiqa,
                size=self.size,
                report=say,
                progress=progress,
            )
        if self.json is not None:
            write_json(self.json, evaluation)
        for path in (self.csv, self.parquet):
            if path is not None:
                write_table(path, evaluation)
        show(*table_lines(evaluation))
        count = sum(len(method.pictures) for method in evaluation.methods)
        return conclude(evaluation.failed, f"evaluated {count}, failed {len(evaluation.failed)}")
