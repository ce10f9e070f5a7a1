"""`advbench bench`: one table of several models and attacks."""

from __future__ import annotations

import re
from typing import Annotated

from advbench.cli import panels
from advbench.cli.groups import expanded, settings_of
from advbench.cli.options import (
    Asked,
    Eps,
    Files,
    Fixed,
    Kept,
    Outputs,
    Pixels,
    Running,
    Written,
)
from advbench.cli.panels import argument
from advbench.core.errors import UsageError


@expanded
def bench(
    models: Annotated[list[str], argument(panels.MODEL, "MODEL...", "Models, each as for `advbench attack`.")],
    asked: Asked,
    pixels: Pixels,
    outputs: Outputs,
    files: Files,
    fixed: Fixed,
    kept: Kept,
    running: Running,
    written: Written,
    eps: Eps = None,
) -> None:
    """Attack several models on the same images and print one table.

    Every attack tries every image, so that the columns can be compared.
    """
    from advbench.api.job import Job
    from advbench.api.outcome import conclude
    from advbench.api.runtime import prepare
    from advbench.api.settings import Settings
    from advbench.cli import output
    from advbench.cli.running import run_job, typed
    from advbench.reports import sheet

    output.check(written.json, written.markdown)
    if "," in (eps or ""):
        raise UsageError("bench compares models at one eps; for several, `advbench attack --eps 2/255,4/255`")
    own = {"cascade": False, "notify": output.say, "command": typed()}
    settings = Settings(**settings_of(asked, pixels, outputs, files, fixed, kept, running, **own))
    prepare()
    jobs = Job.several(models, asked.data, settings)
    short = [job.model.name for job in jobs]
    names = short if len(set(short)) == len(short) else models
    results = []
    for job, name in zip(jobs, names, strict=True):
        results += run_job(job, kept.out / re.sub(r"[^\w.-]+", "_", name) if kept.out else None)
    output.show(sheet.of_models(results, names), output.array(results), written.json, written.markdown)
    conclude(results)
