"""The manifests of the guide are what Docker Compose and Kubernetes take."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docs" / "guides" / "serving"
# Of Kubernetes: one that is in use, and whose schemas the library has.
VERSION = "1.31"


def compose_problems(path):
    words = ["--builtin-schema", "vendor.compose-spec", path]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_compose_is_valid_and_a_mistake_in_it_is_not(tmp_path):
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    assert compose_problems(FOLDER / "compose.yaml") == ""
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(text.replace("interval:", "intervals:"), "utf-8")
    assert "intervals" in compose_problems(wrong)


def objects():
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text("utf-8")))


@pytest.mark.parametrize("kubernetes", objects(), ids=lambda found: found["kind"])
def test_kubernetes_objects_are_valid_and_a_mistake_in_one_is_not(kubernetes):
    kubernetes_validate.validate(kubernetes, VERSION, strict=True)
    wrong = copy.deepcopy(kubernetes)
    wrong["spec" if "spec" in wrong else "data"] = {"no": ["such", "field"]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_both_run_the_same_server():
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]["kmax"]
    (deployment,) = (found for found in objects() if found["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == compose["image"]
    assert container["args"] == compose["command"]
    assert {"name": "TF_ENABLE_ONEDNN_OPTS", "value": "1"} in container["env"]
    timeout = next(a for a in container["args"] if a.startswith("--rest_api_timeout_in_ms="))
    assert int(timeout.split("=")[1]) < 1000 * pod["terminationGracePeriodSeconds"]
    (config,) = (found for found in objects() if found["kind"] == "ConfigMap")
    alone = (FOLDER / "monitoring.config").read_text("utf-8").splitlines()
    words = [w for line in alone if not line.startswith("#") for w in line.split()]
    assert config["data"]["monitoring.config"].split() == words
