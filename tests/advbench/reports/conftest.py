"""A result made by hand."""

import pytest

from advbench.core.flag import Flag
from advbench.evaluation.result import (
    AttackReport,
    Rate,
    Result,
    Row,
)


@pytest.fixture
def make():
    """`make(eps="0.3", robust=60)` -> a result over 100 images, with all its parts filled in."""

    def result(*, name="net", eps="0.3", clean=90, robust=60, n=100, mode="cascade", flags=()):
        def report(spec, correct):
            left = Rate.of(correct, n)
            counts = {
                "tried": clean,
                "broke": clean - correct,
                "out_of_bounds": 0,
                "forwards": 40 * clean,
                "gradients": 40 * clean,
            }
            costs = {"seconds": 1.25, "compile_seconds": None, "settings": {}, "runs": 1}
            return AttackReport(
                spec=spec, name=spec[:3], alone=Rate.of(min(correct + 1, clean), n), after=left, **counts, **costs
            )

        return Result(
            model={"name": name, "source": name, "digest": "0", "dataset": None},
            data={
                "name": "mnist",
                "split": "test",
                "source": "embedded",
                "digest": "0",
                "n": n,
                "indices": f"0..{n - 1}",
                "classes": [str(k) for k in range(10)],
            },
            threat={"norm": "linf", "eps": eps, "eps_value": float(eps), "eps_exact": eps},
            mode=mode,
            clean=Rate.of(clean, n),
            robust=Rate.of(robust, n),
            attacks=[report("fgsm", min(robust + 5, clean)), report("pgd:steps=100,restarts=5", robust)],
            flags=[Flag(name=kind, level=level, evidence={}, message=f"{kind} was seen") for kind, level in flags],
            seed=0,
            batch_size=10,
            complete=True,
            adversarial_digest="0",
            provenance={
                "versions": {},
                "device": "cpu",
                "platform": "cpu",
                "x64": False,
                "matmul_precision": "default",
                "command": "advbench attack",
                "started": "2026-01-01T00:00:00+00:00",
                "seconds": 2.5,
            },
            rows=[row(i, i < robust) for i in range(n)],
        )

    def row(index, robust):
        return Row(
            index=index,
            label=index % 10,
            clean_prediction=index % 10,
            robust=robust,
            broken_by=None if robust else "fgsm",
            also_broken_by=(),
            prediction=(index + (not robust)) % 10,
            distance=None if robust else 0.3,
            margin=None,
            forwards=1,
            gradients=1,
            finite=True,
        )

    return result
