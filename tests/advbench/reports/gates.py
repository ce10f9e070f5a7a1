"""Gates made by hand, and by chance: every state that one can be in, with names that try to break out."""

from __future__ import annotations

from hypothesis import strategies as st

from advbench.core.flag import Flag
from advbench.evaluation.paired import Difference
from advbench.evaluation.result import (
    AttackReport,
    Rate,
    Result,
    Row,
)
from advbench.gating.verdict import (
    Gate,
    Measured,
    Outcome,
    Place,
)

HOSTILE = (
    "a|b`c`<img src=x onerror=alert(1)>\x1b[31m\n::error::[x](y)\"'",
    "]]></failure><script>alert(1)</script>",
    "##[error]x ::stop-commands::t\r\n::set-output name=v::pass",
    r"\input{/etc/passwd}$x_1$ 100% #1 & ~^ [b] {c} -- ``",
    "name<<EOF\nverdict=pass\nEOF",
    "\u202egnp.exe\ufffe\ufffe\x00\x85\u2028@everyone --> <!--",
    '{model="x"} 1\n# EOF\n\\',
)

KINDS = ("min_robust", "min_clean", "max_drop", "min_class", "min_worst_class", "flags")
VERDICTS = ("pass", "fail", "inconclusive", "invalid")

names = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))


def result(*, norm="linf", eps="0.3", n=20, robust=12, flags=(), model="net", specs=("fgsm",), **changes) -> Result:
    """Images 0..n-1, all right when clean, of which the first `robust` stand."""
    reports = [
        AttackReport(
            spec=spec,
            name=spec,
            settings={},
            runs=1,
            alone=None,
            after=Rate.of(robust, n),
            tried=n,
            broke=n - robust,
            out_of_bounds=0,
            seconds=1.0,
            compile_seconds=None,
            forwards=n,
            gradients=n,
        )
        for spec in specs
    ]
    rows = [
        Row(
            index=i,
            label=i % 10,
            clean_prediction=i % 10,
            robust=i < robust,
            broken_by=None if i < robust else "fgsm",
            also_broken_by=(),
            prediction=i % 10,
            distance=None,
            margin=None,
            forwards=1,
            gradients=1,
            finite=True,
        )
        for i in range(n)
    ]
    fields = {
        "model": {"name": model, "source": model, "digest": "0", "dataset": None},
        "data": {
            "name": "mnist",
            "split": "test",
            "source": "embedded",
            "digest": "0",
            "n": n,
            "indices": f"0..{n - 1}",
            "classes": [str(k) for k in range(10)],
        },
        "threat": {"norm": norm, "eps": eps, "eps_value": 0.3, "eps_exact": "3/10"},
        "mode": "cascade",
        "clean": Rate.of(n, n),
        "robust": Rate.of(robust, n),
        "attacks": reports,
        "flags": list(flags),
        "seed": 0,
        "batch_size": 10,
        "complete": True,
        "adversarial_digest": "0",
        "provenance": {
            "versions": {},
            "device": "cpu",
            "platform": "cpu",
            "x64": False,
            "matmul_precision": "default",
            "command": "advbench gate",
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 2.5,
        },
        "rows": rows,
    }
    return Result(**fields | changes)


def measured(value=0.6, low=0.5, high=0.7, n=20) -> Measured:
    return Measured(
        value=value, low=low, high=high, n=n, correct=round(value * n), population=100, level=0.95, method="by hand"
    )


def outcome(verdict="pass", kind="min_robust", rule=None, **changes) -> Outcome:
    fields = {
        "rule": rule or f"{kind} linf 0.3",
        "kind": kind,
        "verdict": verdict,
        "threat": None if kind in ("min_clean", "flags") else "linf 0.3",
        "threshold": None if kind == "flags" else 0.4,
        "measured": None if kind in ("max_drop", "flags") else measured(),
        "difference": Difference.of([True] * 20, [True] * 12 + [False] * 8) if kind == "max_drop" else None,
        "message": "60.0% of 20 images, at least 40% asked",
        "place": Place(file="advbench.toml", line=7),
    }
    return Outcome(**fields | changes)


def gate(*outcomes: Outcome, model="net", results=None, **changes) -> Gate:
    """A gate whose verdict follows from its outcomes."""
    fields = {
        "model": model,
        "verdict": Gate.sums(outcomes),
        "outcomes": outcomes,
        "error": 0.05,
        "images": 20,
        "population": 100,
        "seed": 0,
        "results": (result(model=model),) if results is None else results,
        "seconds": 3.25,
    }
    return Gate(**fields | changes)


flags = st.builds(
    Flag, name=names, level=st.sampled_from(["note", "invalid"]), evidence=st.just({"draws": 3}), message=names
)
results = st.builds(
    result,
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.sampled_from(["8/255", "0.3"]),
    robust=st.integers(0, 20),
    flags=st.lists(flags, max_size=3),
    model=names,
    specs=st.lists(names, min_size=1, max_size=2),
)
places = st.none() | st.builds(Place, file=names, line=st.integers(1, 10**6))


@st.composite
def outcomes(draw):
    kind = draw(st.sampled_from(KINDS))
    changes = {"message": draw(names), "place": draw(places)}
    if kind in ("min_class", "min_worst_class"):
        changes["class_name"] = draw(st.none() | names)
    if kind not in ("max_drop", "flags") and draw(st.booleans()):
        changes["measured"] = None
    return outcome(draw(st.sampled_from(VERDICTS)), kind, draw(names), **changes)


@st.composite
def gates(draw):
    found = draw(st.lists(outcomes(), max_size=4, unique_by=lambda each: each.rule))
    return gate(*found, model=draw(names), results=tuple(draw(st.lists(results, max_size=2))))
