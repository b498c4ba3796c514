"""The package builds without a warning: what is deprecated stops building one day."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of setuptools about itself.
BETA = "ignore:Support for `[tool.setuptools]`"
METADATA = "from setuptools import build_meta; print(build_meta.prepare_metadata_for_build_wheel('.'))"


def test_the_metadata_is_built_without_warnings(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "kmax_tf").mkdir()
    shutil.copy(ROOT / "kmax_tf" / "__init__.py", tmp_path / "kmax_tf")
    built = subprocess.run(
        [sys.executable, "-W", "error", "-W", BETA, "-c", METADATA],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    metadata = (tmp_path / built.stdout.splitlines()[-1] / "METADATA").read_text()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nLicense-File: LICENSE\n" in metadata
