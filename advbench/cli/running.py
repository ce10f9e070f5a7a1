"""Evaluations as the command line runs them: told on stderr, stopped by signals."""

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
    """The command, as it was typed."""
    return shlex.join(["advbench", *sys.argv[1:]])


def run(model: str, data: str | None, settings: Settings) -> tuple[Job, list[Result]]:
    """Load a model, attack it, and say how that goes; a result per eps."""
    from advbench.api.job import Job

    job = Job.of(model, data, replace(settings, notify=say, command=typed()))
    return job, run_job(job, settings.out)


def run_job(job: Job, out: Path | str | None) -> list[Result]:
    """Attack a model that is loaded, and say how that goes."""
    with listening() as stop, watching(job.model.name) as tell:
        told = replace(job.settings, out=out, progress=tell, should_stop=stop)
        return replace(job, settings=told).run()
