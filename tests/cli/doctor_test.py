import importlib
import sys

import pytest
import tensorflow as tf

from kmax_tf import devices
from kmax_tf.cli import doctor, main
from kmax_tf.cli.doctor import Finding, applicable

PINNED = applicable(["tensorflow==2.15.1"])


def findings_of(*requirements):
    return {finding.name: finding for finding in doctor.check_versions(applicable(requirements))}


def test_versions_that_fit_are_shown_with_their_pins():
    found = findings_of("numpy>=1,<9", "pytest")
    assert found["numpy"].value.endswith(("(<9,>=1)", "(>=1,<9)"))
    assert not any(finding.problem for finding in found.values())


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        ("numpy<1", "doesn't fit: kmax_tf needs <1"),
        ("no-such-distribution==2.0", "isn't installed"),
    ],
)
def test_what_does_not_fit_or_is_not_there_comes_with_the_command_that_mends_it(
    requirement, problem
):
    (finding,) = findings_of(requirement).values()
    assert finding.problem.endswith(problem)
    assert finding.fix == f"{sys.executable} -m pip install '{requirement}'"


def test_requirements_of_other_pythons_and_of_development_are_left_out():
    assert findings_of("absent; python_version < '3'", "absent; extra == 'dev'") == {}


def test_modules_that_cannot_be_imported():
    addons, finding = doctor.check_imports(PINNED, [("no_such_module", "tensorflow")], (3, 0))
    assert addons.value.startswith("not available on this Python: ended before 3.0")
    assert "ModuleNotFoundError: No module named 'no_such_module'" in finding.problem
    assert finding.fix.endswith("--force-reinstall 'tensorflow==2.15.1'")


@pytest.mark.parametrize("error", [TypeError("two\nlines"), ImportError("x"), AttributeError("y")])
def test_any_error_of_an_import_is_a_finding(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    problem = doctor.import_problem("anything")
    assert problem == f"{type(error).__name__}: {error}".split("\n")[0]


def test_a_gpu_that_tensorflow_does_not_see(monkeypatch, tmp_path):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    found = {finding.name: finding for finding in doctor.check_devices(PINNED, tmp_path)}
    assert found["GPU devices"].fix.endswith("'tensorflow[and-cuda]==2.15.1'")
    assert found["CPU devices"].value == "0"


@pytest.mark.parametrize(("in_use", "value"), [(True, "in use; "), (False, "off: a step takes ")])
def test_what_the_cpu_computes_with(monkeypatch, in_use, value):
    monkeypatch.setattr(devices, "onednn_in_use", lambda: in_use)
    monkeypatch.setattr(doctor, "cpu_features", lambda: frozenset({"avx2", "fpu", "avx"}))
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    found = {finding.name: finding for finding in doctor.check_processor()}
    assert found["CPU features"].value == "avx avx2"
    assert found["oneDNN"].value.startswith(value)
    assert found["oneDNN"].value.endswith("; TF_ENABLE_ONEDNN_OPTS=0")


def test_stale_protos_are_a_finding(monkeypatch):
    monkeypatch.setattr(doctor, "import_problem", lambda module: "TypeError: x")
    (finding,) = doctor.check_protos()
    assert finding.problem.endswith("missing or stale: TypeError: x")


def test_the_report_marks_what_is_broken():
    good, bad = Finding("a", "1"), Finding("long", "2", "is old", "renew it")
    assert doctor.report([good]) == "  a  1\n\nAll is well."
    assert doctor.report([good, bad]) == (
        "  a     1\n! long  2\n\nlong: is old\n  fix: renew it\n\n1 to fix"
    )


def test_the_status_says_whether_something_is_broken(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "check_python", lambda: [Finding("python", "3")])
    monkeypatch.setattr(
        doctor, "check_operations", lambda wanted: []
    )  # tried by operation_checks_test.py
    assert main.main(["doctor"]) == int("to fix" in capsys.readouterr().out)
    monkeypatch.setattr(doctor, "check_python", lambda: [Finding("python", "2", "old", "renew")])
    assert main.main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "keras in use" in output
    assert "renew" in output
