"""The verbs for looking at results: the report of a job, and preference studies."""

import dataclasses
from typing import Annotated, Literal

from perceptual_jax.cli.common import Number, optional
from perceptual_jax.cli.console import USUAL, Console, conclude, progress_bar, say
from perceptual_jax.cli.restore import Out


@dataclasses.dataclass(frozen=True)
class Report:
    """Write report.html into a job's folder: compare, zoom, sort and filter its pictures."""

    out: Out
    """The job's folder."""
    versus: Annotated[tuple[str, ...], optional("none", metavar="DIR...")] = ()
    """Other runs on the same inputs: folders of jobs, or of pictures with the same names."""
    pictures: Literal["auto", "inside", "beside"] = "auto"
    """Pictures inside the page, which is then one file to send, or beside it; auto decides by their
    number."""
    limit: Number = 2000
    """Most inputs that are shown: those that failed, then the least consistent ones."""
    overwrite: bool = False
    """Replace a report.html that is not a report."""
    console: Console = USUAL

    def run(self) -> int:
        """Writes the page and prints its path."""
        from perceptual_jax.jobs.pages.report import write_report

        with progress_bar("drawing") as progress:
            page = write_report(
                self.out,
                versus=self.versus,
                pictures=self.pictures,
                limit=self.limit,
                overwrite=self.overwrite,
                report=say,
                progress=progress,
            )
        return conclude((), f"the report is {page}")
