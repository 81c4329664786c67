"""The lists of episodes that come with the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[4] / "evals" / "episodes"
FILES = sorted(FOLDER.glob("*.json"))


def test_there_are_lists():
    assert len(FILES) == 6


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_list_holds_the_episodes_that_its_head_says(file: Path):
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["kind"] == "episodic"
    assert len(data["episodes"]) == data["n"]
    assert len(set(data["ids"])) == len(data["ids"])
    for episode in data["episodes"]:
        support, query = episode["support"], episode["query"]
        assert len(support) == data["way"]
        assert set(support) == set(query)
        assert all(len(own) == data["shot"] for own in support.values())
        assert all(1 <= len(own) <= data["query"] for own in query.values())
        used = [n for part in (support, query) for own in part.values() for n in own]
        assert len(set(used)) == len(used)
        assert max(used) < len(data["ids"])
