"""The marker and the fixture, in a pytest inside of this one, where a stand-in decides the gates as it is told."""

import subprocess
import sys

import pytest

import advbench.api.gate_rules
import advbench.api.gating
import advbench.api.job
import advbench.api.runtime
import advbench.gating.rules
import advbench.gating.run
import advbench.gating.source
import advbench.pytest_gate
import advbench.reports.findings  # noqa: F401 - what the inner pytest imports, it forgets
from tests.advbench.reports.gates import gate, outcome

pytest_plugins = "pytester"

PASS = gate(outcome("pass", message="certain"))
VERDICTS = {
    "fail": gate(
        outcome("pass", "min_clean"), outcome("fail", message="12.5% [5.1%, 25.0%] on 40 of 100 is below 40%")
    ),
    "inconclusive": gate(outcome("inconclusive", message="time was up")),
    "invalid": gate(outcome("pass"), outcome("invalid", "flags", message="zero_gradients: nothing to climb")),
}

STANDIN = """
import pytest
from advbench.api import gating
from advbench import pytest_gate
from advbench.core.errors import AdvbenchError
from advbench.gating.run import GateResult
from advbench.gating.verdict import Gate

calls = []
models = []

def decided(rules, source, *, model, **objects):
    calls.append((rules, source))
    models.append(model)
    if {error!r}:
        raise AdvbenchError({error!r})
    return GateResult(Gate.model_validate_json({gate!r}), None)

@pytest.fixture(autouse=True, scope="session")
def standin():
    pytest_gate._gates.clear()
    patch = pytest.MonkeyPatch()
    patch.setattr(gating, "decided", decided)
    yield
    patch.undo()
"""


@pytest.fixture
def run(pytester):
    """Run pytest with the plugin over `source`; every gate ends as `found`."""

    def inner(source, found=PASS, *words, error="", conftest=""):
        pytester.makeconftest(STANDIN.format(gate=found.to_json(), error=error) + conftest)
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess(
            "-p", "no:advbench", "-p", "advbench.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers", *words
        )

    return inner


MARKED = """
import pytest

@pytest.mark.robust(model="net", eps="8/255", min=0.4)
def test_it():
    print("the body runs")
"""


def test_a_gate_that_passes_lets_the_body_run(run):
    done = run(MARKED, PASS, "-s")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*the body runs*"])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_any_other_verdict_fails_the_test_and_says_why(run, verdict):
    done = run(MARKED, VERDICTS[verdict], "-s")
    done.assert_outcomes(failed=1)
    text = done.stdout.str()
    assert "the body runs" not in text
    assert f"robustness gate of net: {verdict}" in text
    (reason,) = [each.message for each in VERDICTS[verdict].outcomes if each.verdict == verdict]
    assert reason in text
    assert "Traceback" not in text


def test_the_marker_becomes_the_rules_with_its_place(run):
    source = """
    import pytest
    import conftest

    @pytest.mark.robust(model="net", norm="l2", eps=0.5, min="40%", min_clean=0.9, n=30, attacks="fgsm", error_rate=0.1,
                        weights="net.pt", input_defense="bits:depth=4", query_limit=9, mean=[0.5, 0.25])
    def test_it():
        ((rules, source),) = conftest.calls
        (threat,) = rules.threats
        assert (rules.model, rules.n, rules.attacks, rules.error_rate) == ("net", 30, ("fgsm",), 0.1)
        assert (threat.norm, threat.eps, float(threat.min_robust)) == ("l2", "0.5", 0.4)
        assert float(rules.min_clean) == 0.9
        assert (rules.weights, rules.input_defense, rules.query_limit) == ("net.pt", ("bits:depth=4",), 9)
        assert rules.mean == "0.5,0.25"
        for keys in (("threats", 0, "min-robust"), ("min-clean",)):
            place = source.place(keys)
            assert (place.file, place.line) == ("test_the_marker_becomes_the_rules_with_its_place.py", 4)
    """
    run(source).assert_outcomes(passed=1)


FORMER = "error is now error_rate", "checks is now preflight"


def test_former_names_of_settings_are_taken_with_a_warning(run):
    source = """
    import pytest
    import conftest

    @pytest.mark.robust(model="net", norm="l2", eps=0.5, min="40%", error=0.1, checks="full")
    def test_it():
        ((rules, _),) = conftest.calls
        assert (rules.error_rate, rules.preflight) == (0.1, "full")
    """
    done = run(source)
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines([f"*DeprecationWarning: @pytest.mark.robust: {a}" for a in FORMER])
    assert done.stdout.str().count("@pytest.mark.robust: ") == len(FORMER)


def test_every_marker_of_a_test_counts_and_equal_gates_run_once(run):
    source = """
    import pytest
    import conftest

    pytestmark = pytest.mark.robust(model="net", eps="1/255", min=0.6)

    @pytest.mark.robust(model="net", eps="8/255", min=0.4)
    def test_a():
        assert [rules.threats[0].eps for rules, _ in conftest.calls] == ["8/255", "1/255"]

    @pytest.mark.parametrize("k", [1, 2])
    def test_b(k):
        assert len(conftest.calls) == 2
    """
    run(source).assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("eps='8/255'", "asks for nothing: add min"),
        ("model='net', min=0.4, epsilon='8/255'", "unknown setting 'epsilon'; did you mean 'eps'?"),
        ("'8/255', 0.4", "by name, like eps="),
        ("min=0.4", "no model: give @pytest.mark.robust(model=...)"),
        ("model='net', min=40", "40 is not clearly an accuracy"),
        ("model='net', min=0.4, eps='8/0'", "eps '8/0' is not a number"),
    ],
)
def test_a_mistake_is_a_failure_in_one_line(run, marker, message):
    model = "" if "no model" in message else "model='net', "
    marker = marker if marker.startswith(("model", "'8")) else model + marker
    done = run(f"import pytest\n@pytest.mark.robust({marker})\ndef test_it(): pass")
    done.assert_outcomes(failed=1)
    text = done.stdout.str()
    assert message in text
    assert "During handling" not in text


def test_what_keeps_a_gate_from_a_verdict_is_a_failure_too(run):
    done = run(MARKED, error="there is no data set 'x'")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*advbench: there is no data set 'x'*"])


def test_the_model_comes_from_the_configuration_or_a_fixture(run):
    source = """
    import pytest
    import conftest

    @pytest.mark.robust(eps="8/255", min=0.4)
    def test_it():
        assert conftest.calls[0][0].model == {model!r}
    """
    run(source.format(model="from-ini"), PASS, "-o", "advbench_model=from-ini").assert_outcomes(passed=1)
    fixture = "\n@pytest.fixture\ndef robust_model():\n    return 'from-fixture'\n"
    run(source.format(model="from-fixture"), conftest=fixture).assert_outcomes(passed=1)


JOB = """
from advbench.api import job
from advbench.evaluation.result import Result

class Job:
    def of(model, data, settings):
        calls.append((model, settings))
        return Job()

    def run(self):
        return Gate.model_validate_json({gate!r}).results

@pytest.fixture(autouse=True)
def evaluation(monkeypatch):
    monkeypatch.setattr(job, "Job", Job)
"""


def test_the_fixture_evaluates_with_the_markers_settings_unless_told(run):
    source = """
    import pytest
    import conftest

    @pytest.mark.robust(model="net", eps="8/255", min=0.4, min_clean=0.5, n=50, error_rate=0.1)
    def test_it(robustness):
        result = robustness(eps=0.1, attacks="fgsm")
        assert result.robust.accuracy == 0.6
        model, request = conftest.calls[-1]
        assert (model, request.eps, request.n, request.attacks) == ("net", "0.1", 50, ["fgsm"])
        robustness("other")
        assert conftest.calls[-1][0] == "other"

    def test_without_marker(robustness):
        robustness("net")
        assert conftest.calls[-1][1].eps is None

    def test_slip(robustness):
        robustness("net", esp="8/255")
    """
    done = run(source, conftest=JOB.format(gate=PASS.to_json()))
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["*unknown setting 'esp'; did you mean 'eps'?*"])


def test_numbers_go_into_the_junit_file(run, pytester):
    run(MARKED, PASS, "--junit-xml=out.xml").assert_outcomes(passed=1)
    text = (pytester.path / "out.xml").read_text()
    assert '<property name="advbench_verdict" value="pass"' in text
    assert '<property name="min_robust linf 0.3" value="0.6000 [0.5000, 0.7000] on 20 images"' in text


def test_tests_without_marker_are_let_be(run):
    run("import conftest\ndef test_it():\n    assert conftest.calls == []", VERDICTS["fail"]).assert_outcomes(passed=1)


def test_loading_the_plugin_imports_nothing_heavy():
    heavy = "{'jax', 'numpy', 'flax', 'pydantic', 'matplotlib', 'typer', 'rich'}"
    code = f"import sys, advbench.pytest_plugin; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_models_may_be_objects_or_functions_that_make_one(run):
    source = """
    import pytest
    import conftest

    class Net:
        pass

    NET, OTHER = Net(), Net()

    def make():
        return NET

    @pytest.mark.robust(model=make, eps="8/255", min=0.4)
    @pytest.mark.robust(model=NET, eps="8/255", min=0.4)
    @pytest.mark.robust(model=OTHER, eps="8/255", min=0.4)
    def test_it():
        assert conftest.models == [OTHER, NET, NET]
        assert [rules.model for rules, _ in conftest.calls] == ["Net", "Net", "make"]
    """
    run(source).assert_outcomes(passed=1)
