"""Evaluations of the command line: progress on stderr, stopped by signals."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.cli.output import say
from advbench.cli.progress import watching
from advbench.cli.signals import listening

if TYPE_CHECKING:
    from advbench.api.job import Job
    from advbench.api.settings import Settings
    from advbench.evaluation import Result


def typed() -> str:
    """Return the command line as it was typed."""
    return shlex.join(["advbench", *sys.argv[1:]])


def run(model: str, data: str | None, settings: Settings) -> tuple[Job, list[Result]]:
    """Load a model and attack it, with progress; one result for each eps."""
    from advbench.api.job import Job

    job = Job.of(model, data, replace(settings, notify=say, command=typed()))
    return job, run_job(job, settings.out)


def run_job(job: Job, out: Path | str | None) -> list[Result]:
    """Attack a loaded model, with progress."""
    with listening() as stop, watching(job.model.name) as tell:
        settings = replace(job.settings, out=out, progress=tell, should_stop=stop)
        return replace(job, settings=settings).run()
