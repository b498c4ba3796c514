"""Documents name files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    paths = [document.parent / link for link in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", text)]
    named = re.findall(r"(?<![\w/])((?:kmax_tf|tests|benchmarks|configs|protos)/[\w/.]*\w)", text)
    # Some are named as a pattern's beginning, or are made at installation.
    paths += [ROOT / name for name in named if name.endswith((".py", ".proto", ".textproto"))]
    assert [str(path) for path in paths if not path.exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_headings_have_a_heading(document):
    links = re.findall(r"\]\(([^)#\s:]*)#([^)]*)\)", document.read_text(encoding="utf-8"))
    for file, anchor in links:
        target = document.parent / file if file else document
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings]
        assert anchor in anchors, f"{document.name}: {file}#{anchor}"
