"""Which kernels TensorFlow computes with on a CPU: its own, or those of oneDNN.

TensorFlow decides when it is imported: by the variable TF_ENABLE_ONEDNN_OPTS and, without it, by
the CPU. On an x86 it takes oneDNN only where there are instructions for short numbers (AVX512_VNNI,
AVX_VNNI, AMX). Hence nothing here imports TensorFlow.
"""

from __future__ import annotations

import os
import pathlib
import sys

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# oneDNN was measured to be the faster on CPUs with AVX2 alone, too; what came before them, or are
# no x86, was not measured, so there TensorFlow's own choice stays.
_ENOUGH = "avx2"
_CPU_INFO = pathlib.Path("/proc/cpuinfo")


def cpu_features() -> frozenset[str]:
    """Returns what this CPU can do, in Linux' words, as `avx2`; nothing where nobody says."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM
            return frozenset(value.split())
    return frozenset()


def prefer_onednn() -> None:
    """Switches oneDNN on where it is the faster, for this process and those that it starts.

    What the user has set stays, and so does everything once TensorFlow is imported.
    """
    if "tensorflow" not in sys.modules and _ENOUGH in cpu_features():
        os.environ.setdefault(ONEDNN, "1")
