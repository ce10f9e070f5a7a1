"""The plugin that pytest loads where advbench is installed: a marker that gates a test, a fixture that evaluates.

Nothing of jax is imported until a marked test runs, or one that asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advbench.evaluation import Result
    from advbench.gating.verdict import Gate

MARKER = (
    "robust(eps=None, min=None, norm=None, model=None, data=None, n=None, attacks=None, ...): "
    "the test fails unless the model's robust accuracy is certain to reach `min`"
)
FIXTURE = "robust_model"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a project name its model once."""
    parser.addini("advbench_model", "Model of tests marked `robust` that name none, as for `advbench attack`.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have the model of a marked test made with the test's other fixtures."""
    names = getattr(item, "fixturenames", None)
    if names is not None and FIXTURE not in names and item.get_closest_marker("robust"):
        names.append(FIXTURE)


@pytest.fixture
def robust_model(pytestconfig: pytest.Config) -> Any:
    """Model of tests that name none: override it to return a model, a function that makes one, or its name."""
    return pytestconfig.getini("advbench_model") or None


@pytest.fixture
def robustness(request: pytest.FixtureRequest, robust_model: Any) -> Callable[..., Result]:
    """`robustness(model, eps="8/255", n=100)` evaluates, and returns the result; a marker gives the defaults."""
    from advbench.pytest_gate import evaluated

    marker = request.node.get_closest_marker("robust")
    defaults = {"model": robust_model, **(marker.kwargs if marker else {})}

    def evaluate(model: Any = None, **settings: Any) -> Result:
        return evaluated(settings if model is None else {**settings, "model": model}, defaults)

    return evaluate


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Decide every marker of a test before its body runs."""
    for marker in item.iter_markers("robust"):
        _gate(item, marker)
    return (yield)


def _gate(item: pytest.Item, marker: pytest.Mark) -> None:
    from advbench.pytest_gate import decided

    __tracebackhide__ = True
    if marker.args:
        pytest.fail("write the settings of @pytest.mark.robust by name, like eps='8/255', min=0.4", pytrace=False)
    model = getattr(item, "funcargs", {}).get(FIXTURE)
    path, line, _ = item.location
    gate = decided({"model": model, **marker.kwargs}, path, (line or 0) + 1)
    _record(item, gate)
    if gate.verdict != "pass":
        pytest.fail(_said(gate), pytrace=False)


def _record(item: pytest.Item, gate: Gate) -> None:
    """Record the verdict and the measurements for `--junit-xml` and other reports."""
    item.user_properties.append(("advbench_verdict", gate.verdict))
    for outcome in gate.outcomes:
        if outcome.measured is not None:
            found = outcome.measured
            bounds = f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {found.n} images"
            item.user_properties.append((outcome.rule, bounds))


def _said(gate: Gate) -> str:
    """Say in one line for each rule why it did not pass."""
    from advbench.reports.findings import findings

    lines = [f"{found.title}: {found.message}" for found in findings(gate) if found.level == "error"]
    return "\n".join([f"robustness gate of {gate.model}: {gate.verdict}", *lines])
