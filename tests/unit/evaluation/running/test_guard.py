"""Test clips cannot reach what learns."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation import colours
from vlar.errors import ProtocolError
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.datasets.base import read_dataset
from vlar.evaluation.features import FeatureStore
from vlar.evaluation.learning import ContentIds, FitSet, Guard, LearningMethod, fit
from vlar.evaluation.runner import run_card
from vlar.heads.support import SupportItem
from vlar.types import Window


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours.folder(tmp_path_factory.mktemp("guard"), ("red", "blue"), 2)


def guarded(place: Path) -> tuple[Guard, Any]:
    data = read_dataset(place)
    guard = Guard(ContentIds().of)
    guard.protect(data.subset("test").items)
    return guard, data


def test_training_clips_pass_and_test_clips_do_not(place: Path):
    guard, data = guarded(place)
    assert guard.fit_set(data.subset("train").items).labels == ("blue", "red")
    with pytest.raises(ProtocolError, match="4 of 4 clips to learn from are test clips"):
        guard.fit_set(data.subset("test").items)


def test_a_copy_under_another_name_is_found(place: Path, tmp_path: Path):
    guard, data = guarded(place)
    stolen = data.subset("test").items[0]
    copy = Path(shutil.copy(stolen.path, tmp_path / "harmless.mp4"))
    items = [*data.subset("train").items, SupportItem(copy, None, stolen.labels, "x")]
    with pytest.raises(ProtocolError, match="harmless"):
        guard.fit_set(items)


def test_spans_of_one_recording_may_not_overlap(place: Path):
    train = read_dataset(place).subset("train").items
    path = train[0].path
    guard = Guard(ContentIds().of)
    guard.protect([SupportItem(path, Window(0.0, 0.5), ("red",), "g")])
    other = train[-1]
    assert guard.fit_set([SupportItem(path, Window(0.5, 1.0), ("blue",), "g"), other])
    for window in (Window(0.4, 1.0), None):
        with pytest.raises(ProtocolError, match="test clips"):
            guard.fit_set([SupportItem(path, window, ("blue",), "g"), other])


def test_a_fit_set_cannot_be_made_by_hand(place: Path):
    items = read_dataset(place).subset("test").items
    with pytest.raises(ProtocolError, match=r"Guard\.fit_set"):
        FitSet(("blue", "red"), tuple(items))


def test_fit_takes_nothing_else(place: Path):
    items: Any = read_dataset(place).subset("test").items
    store = FeatureStore(ContentIds().of, disk=False)
    with pytest.raises(ProtocolError, match="takes a FitSet"):
        fit(colours.model(), store, LearningMethod("prototype"), items, 0)


def test_a_protocol_whose_training_list_holds_a_test_clip_stops(place: Path, tmp_path: Path):
    """The lists name other files, the contents are the same."""
    root = Path(shutil.copytree(place, tmp_path / "leak"))
    shutil.copy(next((root / "test" / "red").iterdir()), root / "train" / "red" / "new.mp4")
    card = make_card({"name": "x", "protocol": "supervised"}, "x")
    with pytest.raises(
        ProtocolError, match=r"1 of 5 clips to learn from are test clips .*new\.mp4"
    ):
        list(run_card(LoadedCard(card), root, colours.model()))


def test_one_label_is_named(place: Path):
    guard, data = guarded(place)
    red = data.subset("train").of(["red"]).items
    with pytest.raises(ProtocolError, match="show 1 label: red"):
        guard.fit_set(red)
