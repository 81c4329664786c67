from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import DatasetSplit, Subset
from vlar.evaluation.datasets.tables import arranged
from vlar.heads.support import SupportItem

PARTS = {
    "kick ball": ["kick", "ball"],
    "throw ball": ["throw", "ball"],
    "ride bike": ["ride", "bike"],
}


def item(name: str, label: str, group: str) -> SupportItem:
    return SupportItem(Path(name), None, (label,), group)


def table(*rows: tuple[str, str], missing: tuple[SupportItem, ...] = ()) -> DatasetSplit:
    items = tuple(item(f"{n}.mp4", label, group) for n, (label, group) in enumerate(rows))
    labels = tuple(sorted({label for label, _ in rows}))
    return DatasetSplit("csv", Path("data"), labels, {"test": Subset(items, missing)})


ROWS = (("kick ball", "a"), ("kick ball", "b"), ("throw ball", "a"), ("throw ball", "b"),
        ("ride bike", "c"), ("walk", "b"))  # fmt: skip


def test_without_options_nothing_changes():
    data = table(*ROWS)
    assert arranged(data, {"label": "x"}) is data


@given(st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from("abcdefg")), min_size=1))
def test_halves_keep_groups_whole_and_lose_no_clip(rows: list[tuple[str, str]]):
    data = table(*rows, missing=(item("lost.mp4", rows[0][0], "z"),))
    found = arranged(data, {"halves": True})
    train, test = found.subsets["train"], found.subsets["test"]
    groups = [{i.group for i in (*s.items, *s.missing)} for s in (train, test)]
    assert not groups[0] & groups[1]
    assert len(groups[0]) - len(groups[1]) in (0, 1)
    assert sorted((*train.items, *test.items), key=str) == sorted(
        data.subsets["test"].items, key=str
    )
    assert len(train.missing) + len(test.missing) == 1


def test_labels_with_too_few_clips_are_left_out_and_counted():
    found = arranged(table(*ROWS), {"halves": True, "least": 1})
    assert found.labels == ("kick ball", "throw ball")
    assert "2 labels have fewer than 1" in found.notes[0]


def test_parts_give_verbs_and_objects():
    found = arranged(table(*ROWS), {"halves": True, "parts": PARTS, "unseen": ["throw ball"]})
    assert found.labels == ("kick ball", "ride bike", "throw ball")
    assert {i.parts["verb"] for i in found.subsets["train"].items} == {"kick", "ride"}
    assert {i.parts["verb"] for i in found.subsets["test"].items} == {"kick", "throw"}


def test_parts_can_be_labels():
    found = arranged(table(*ROWS), {"parts": PARTS, "parts_are_labels": True})
    assert found.labels == ("ball", "bike", "kick", "ride", "throw")
    assert found.subsets["test"].items[0].labels == ("kick", "ball")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": {"fly": ["fly", "kite"]}}, "no clip is left of 4 labels"),
        ({"parts": {"walk": ["walk"]}}, "'walk' has the parts \\['walk'\\]"),
    ],
)
def test_what_leaves_nothing_is_refused(options: dict[str, Any], said: str):
    with pytest.raises(DatasetError, match=said):
        arranged(table(*ROWS), options)
