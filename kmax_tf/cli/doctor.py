"""`kmax doctor`: versions, devices, what is missing, mismatched or fails, and what to do about it.

It exits with 1 when something is broken.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

import kmax_tf
from kmax_tf.processor import ONEDNN, cpu_features
from kmax_tf.version import installed_version

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from kmax_tf.ops.trials import Example

HELP = "print versions and devices, try operations, and say how to fix what is broken"

# Modules that break when versions don't fit although pip is content: (module, distribution).
IMPORTS = (
    ("tensorflow", "tensorflow"),
    ("kmax_tf.keras_api", "tf-keras"),
    ("official.core.base_trainer", "tf-models-official"),
    ("orbit", "tf-models-official"),
    ("tensorflow_datasets", "tensorflow-metadata"),
    ("pycocotools.mask", "pycocotools"),
    ("PIL.Image", "pillow"),
    ("scipy.optimize", "scipy"),
)
ADDONS_END = (3, 12)
# What is looked at where kmax-tf isn't installed, so that its own requirements are unknown.
_UNPINNED = (
    "tensorflow",
    "tf-models-official",
    "tensorflow-addons; python_version < '3.12'",
    "tf-keras; python_version >= '3.12'",
    "tensorflow-metadata",
    "protobuf",
    "numpy",
    "pycocotools",
    "setuptools",
)
# Of what a CPU can do, what decides how fast it computes; in the order of the report.
_FEATURES = (
    *("avx", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_bf16", "asimd", "sve", "bf16"),
)
_COST_OF_NO_ONEDNN = "a step takes up to 1.4 times as long (docs/performance.md, oneDNN)"
NVIDIA_DRIVER = pathlib.Path("/proc/driver/nvidia/version")


class Finding(NamedTuple):
    """One line of the report; `problem` is empty where all is well, `fix` is a command."""

    name: str
    value: str
    problem: str = ""
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no argument: there is nothing to choose."""


def run(args: argparse.Namespace) -> int:
    """Prints the report; returns 1 when something is broken."""
    del args
    # Those of start-up would hide the report.
    warnings.simplefilter("ignore")
    wanted = requirements()
    findings = [
        *check_python(),
        *check_versions(wanted),
        *check_imports(wanted),
        *check_protos(),
        *check_devices(wanted),
        *check_processor(),
        *check_operations(wanted),
    ]
    print(report(findings))
    return int(any(finding.problem for finding in findings))


def report(findings: Sequence[Finding]) -> str:
    """Returns the findings as aligned lines, then the problems with their fixes."""
    width = max(len(finding.name) for finding in findings)
    lines = [
        f"{'!' if finding.problem else ' '} {finding.name:<{width}}  {finding.value}"
        for finding in findings
    ]
    broken = [finding for finding in findings if finding.problem]
    for finding in broken:
        lines += ["", f"{finding.name}: {finding.problem}", f"  fix: {finding.fix}"]
    lines += ["", f"{len(broken)} to fix" if broken else "All is well."]
    return "\n".join(lines)


def requirements() -> list[Requirement]:
    """Returns what kmax-tf needs on this Python; without versions where it isn't installed."""
    try:
        texts = importlib.metadata.requires("kmax-tf") or _UNPINNED
    except importlib.metadata.PackageNotFoundError:
        texts = _UNPINNED
    return applicable(texts)


def applicable(texts: Iterable[str]) -> list[Requirement]:
    """Returns the requirements of this Python, without those of extras."""
    from packaging.requirements import Requirement

    parsed = map(Requirement, texts)
    return [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]


def check_python() -> Iterator[Finding]:
    """Yields the version of Python, and whether kmax_tf is installed."""
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    installed = installed_version("kmax-tf")
    if installed is None:
        yield Finding(
            "kmax_tf",
            kmax_tf.__version__,
            "runs from its source folder but isn't installed, so its requirements are unknown",
            f"{sys.executable} -m pip install -e .",
        )
    else:
        yield Finding("kmax_tf", installed)


def check_versions(wanted: Iterable[Requirement]) -> Iterator[Finding]:
    """Yields each requirement with the version that is installed."""
    for requirement in wanted:
        found = installed_version(requirement.name)
        fix = f"{sys.executable} -m pip install '{requirement.name}{requirement.specifier}'"
        if found is None:
            yield Finding(requirement.name, "-", "isn't installed", fix)
        elif not requirement.specifier.contains(found, prereleases=True):
            problem = f"{found} doesn't fit: kmax_tf needs {requirement.specifier}"
            yield Finding(requirement.name, found, problem, fix)
        else:
            pin = f"  ({requirement.specifier})" if str(requirement.specifier) else ""
            yield Finding(requirement.name, f"{found}{pin}")


def check_imports(
    wanted: Iterable[Requirement],
    modules: Iterable[tuple[str, str]] = IMPORTS,
    addons_end: tuple[int, int] = ADDONS_END,
) -> Iterator[Finding]:
    """Yields the modules that cannot be imported, and which Keras and add-ons are in use."""
    names = [*modules]
    if sys.version_info < addons_end:
        names.append(("tensorflow_addons", "tensorflow-addons"))
    else:
        yield Finding(
            "tensorflow-addons",
            f"not available on this Python: ended before "
            f"{'.'.join(map(str, addons_end))}; nothing that kmax_tf does here needs it",
        )
    for module, distribution in names:
        problem = import_problem(module)
        if problem:
            pinned = _pinned(distribution, wanted)
            fix = f"{sys.executable} -m pip install --force-reinstall '{pinned}'"
            yield Finding(module, "-", f"cannot be imported: {problem}", fix)
        elif module == "kmax_tf.keras_api":
            layer = importlib.import_module(module).keras.layers.Layer
            package = layer.__module__.split(".")[0]
            version = installed_version(package.replace("_", "-"))
            yield Finding("keras in use", f"{package} {version}")


def import_problem(module: str) -> str:
    """Returns why a module cannot be imported, in a line; empty where it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken stack raises TypeError, AttributeError, ...
        return f"{type(error).__name__}: {error}".split("\n", 1)[0]
    return ""


def _pinned(distribution: str, wanted: Iterable[Requirement]) -> str:
    pins = {requirement.name: str(requirement.specifier) for requirement in wanted}
    return f"{distribution}{pins.get(distribution, '')}"


def check_protos() -> Iterator[Finding]:
    """Yields where the shipped configs are, or what is wrong with the code of the protos."""
    problem = import_problem("kmax_tf.config")
    if problem:
        yield Finding(
            "protos",
            "-",
            f"the generated code is missing or stale: {problem}",
            f"{sys.executable} -m pip install -e .   (or: make protos)",
        )
        return
    configs = importlib.import_module("kmax_tf.config").shipped_configs()
    missing = "" if configs.is_dir() else f"{configs} isn't there"
    fix = f"{sys.executable} -m pip install --force-reinstall --no-deps kmax-tf"
    yield Finding("configs", str(configs), missing, fix)


def check_devices(
    wanted: Iterable[Requirement], driver: pathlib.Path = NVIDIA_DRIVER
) -> Iterator[Finding]:
    """Yields the devices that TensorFlow sees, and a GPU that it doesn't."""
    if import_problem("tensorflow"):
        return
    import tensorflow as tf

    for kind in ("CPU", "GPU", "TPU"):
        devices = tf.config.list_physical_devices(kind)
        details = [tf.config.experimental.get_device_details(device) for device in devices]
        names = [str(detail.get("device_name", "")) for detail in details]
        shown = ", ".join(name for name in names if name)
        value = f"{len(devices)}{f' ({shown})' if shown else ''}"
        if kind == "GPU" and not devices and (driver.exists() or shutil.which("nvidia-smi")):
            pinned = _pinned("tensorflow", wanted).replace("tensorflow", "tensorflow[and-cuda]", 1)
            yield Finding(
                "GPU devices",
                value,
                "this machine has an NVIDIA driver but TensorFlow finds no GPU",
                f"{sys.executable} -m pip install '{pinned}'",
            )
        else:
            yield Finding(f"{kind} devices", value)


def check_processor() -> Iterator[Finding]:
    """Yields what the CPU can do, and whether TensorFlow computes with oneDNN on it."""
    yield Finding("CPU cores", str(os.cpu_count()))
    features = sorted(cpu_features() & set(_FEATURES), key=_FEATURES.index)
    yield Finding("CPU features", " ".join(features) or "none of note, or nobody says")
    if import_problem("tensorflow"):
        return
    from kmax_tf.devices import onednn_in_use

    value = "in use" if onednn_in_use() else f"off: {_COST_OF_NO_ONEDNN}"
    yield Finding("oneDNN", f"{value}; {ONEDNN}={os.environ.get(ONEDNN, '')}")


def check_operations(
    wanted: Iterable[Requirement], examples: Optional[dict[str, Example]] = None
) -> Iterator[Finding]:
    """Yields the kinds of operation that fail here, or that none does.

    Args:
      wanted: requirements.
      examples: by name; those of `operation_checks.operations` unless given.
    """
    if problem := import_problem("kmax_tf.cli.operation_checks"):
        yield Finding("operations", "-", f"cannot be tried: {problem}", "fix the others first")
        return
    from kmax_tf.cli.operation_checks import PRECISIONS, failures, operations

    other = "0" if os.environ.get(ONEDNN) == "1" else "1"
    fix = (
        f"export {ONEDNN}={other}   (other kernels; or: {sys.executable} -m pip install "
        f"--force-reinstall '{_pinned('tensorflow', wanted)}')"
    )
    count = 0
    for name, reason in failures(examples or operations()):
        count += 1
        yield Finding(name, "-", f"cannot be computed with its gradient: {reason}", fix)
    if not count:
        names = " and ".join(precision.replace("mixed_", "") for precision in PRECISIONS)
        yield Finding("operations", f"all that experiments use, with gradients, in {names}")
