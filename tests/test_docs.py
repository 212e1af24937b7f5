"""The documentation: sizes, links, and agreement with the code."""

import re
from pathlib import Path

import pytest

from tests.imports import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_changelog_entries_are_short() -> None:
    sections = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1:]
    lines = {x.partition("\n")[0]: x.strip().count("\n") + 1 for x in sections}
    assert {version: n for version, n in lines.items() if n > 40} == {}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "contrib/reframe/README.md"])
def test_links_to_files_resolve(name: str) -> None:
    folder = (ROOT / name).parent
    targets = [x for x in LINK.findall((ROOT / name).read_text()) if "://" not in x]
    missing = [x for x in targets if not (folder / Path(x.partition("#")[0])).exists()]
    assert missing == []
