"""Features of data sets, and the guard between test clips and what learns."""

from __future__ import annotations

import os
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import CHECKOUT
from tests.refusals import refused
from tests.unit.evaluation import colours
from vlar.errors import ProtocolError, VlarError
from vlar.evaluation.cards import LoadedCard, make_card, read_card
from vlar.evaluation.datasets.base import read_dataset
from vlar.evaluation.features import Change, FeatureStore, trim
from vlar.evaluation.learning import ContentIds, FitSet, Guard, LearningMethod, fit
from vlar.evaluation.runner import run_card
from vlar.files import resources
from vlar.heads.support import SupportItem
from vlar.types import Encoded, Failure, Window


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def items(tmp_path: Path) -> tuple[SupportItem, ...]:
    root = colours.folder(tmp_path / "data", ("red left", "blue right"), 1)
    return read_dataset(root).subset("test").items


def rows(model, items, changes=(None,), store=None):
    store = store or FeatureStore(ContentIds().of)
    return [row for _, _, row in store.rows(model.words, items, changes)], store


def test_rows_equal_plain_encoding_bit_for_bit_before_and_after_the_disk(cache: Path, items):
    model = colours.model()
    plain = [model.words.encode_views(model.view_sampler.sample(item.path)) for item in items]
    for _ in range(2):
        found, store = rows(model, items)
        for one, other in zip(found, plain, strict=True):
            assert isinstance(one, Encoded)
            assert one.vector.tobytes() == other.vector.tobytes()
            assert one.features.tobytes() == other.features.tobytes()
    assert (store.cost.encoded, store.cost.reused) == (0, 2)


def test_changes_are_kept_apart_and_one_frame_is_the_middle(cache: Path, items):
    model = colours.model()
    changes = (None, Change("reverse"), Change("one-frame"), Change("jpeg", 5), Change("jpeg", 1))
    found, store = rows(model, items, changes)
    assert store.cost.encoded == 10
    ways = [row.features[:, 4:6].sum(axis=0).tolist() for row in found[5:8]]
    assert ways[0] == ways[1][::-1]
    assert ways[2] == [0, 0]
    assert not np.array_equal(found[3].vector, found[4].vector)
    assert rows(model, items, changes)[1].cost.reused == 10


def test_another_fingerprint_and_another_content_are_encoded_again(cache: Path, items):
    model = colours.model()
    rows(model, items)
    model.encoder.fingerprint = "colours-2"
    assert rows(model, items)[1].cost.encoded == 2
    colours.make_clip(items[0].path, "green left", 99)
    found, store = rows(model, items)
    assert (store.cost.encoded, store.cost.reused) == (1, 1)
    assert found[0].vector[1] > 0.5


def test_a_damaged_file_is_encoded_again(cache: Path, items):
    model = colours.model()
    before, _ = rows(model, items)
    for file in cache.rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    after, store = rows(model, items)
    assert store.cost.encoded == 2
    assert before[0].vector.tobytes() == after[0].vector.tobytes()


def test_a_broken_recording_is_a_failure_in_its_place(cache: Path, items):
    items[0].path.write_bytes(b"no video")
    found, _ = rows(colours.model(), items, (None, Change("reverse")))
    assert [isinstance(row, Failure) for row in found] == [True, True, False, False]


def test_a_cache_that_cannot_be_written_costs_time_only(cache: Path, items):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where a folder is needed")
    for _ in range(2):
        assert rows(colours.model(), items)[1].cost.encoded == 2


def test_the_folder_is_trimmed_from_the_oldest(cache: Path, items):
    rows(colours.model(), items)
    files = sorted(cache.rglob("*.npz"))
    for age, file in enumerate(files):
        os.utime(file, (1000 + age, 1000 + age))
    trim(cache, files[1].stat().st_size)
    assert sorted(cache.rglob("*.npz")) == [files[1]]
    assert resources.cache_limit() > 0


def test_other_sensors_change_in_time_and_not_in_pixels():
    signal = np.arange(900, dtype=np.float32).reshape(300, 3)
    assert np.array_equal(Change("reverse").apply(signal, "x"), signal[::-1])
    shuffled = Change("shuffle").apply(signal, "x")
    assert not np.array_equal(shuffled, signal)
    assert np.array_equal(np.sort(shuffled[:, 0]), signal[:, 0])
    assert np.array_equal(
        Change("one-frame").apply(signal, "x"), np.repeat(signal[150:151], 300, 0)
    )
    refused(ProtocolError, "'jpeg' changes pictures", Change("jpeg", 1).apply, signal, "x")


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
    refused(ProtocolError, "harmless", guard.fit_set, items)


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
    refused(ProtocolError, r"Guard\.fit_set", FitSet, ("blue", "red"), tuple(items))


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


def places(root: Path) -> Path:
    """Ways as labels, colours as domains, and a site each; of each two clips."""
    lines = ["path,label,domain,site,text"]
    for at, (colour, site) in enumerate(product(("red", "blue", "green"), "AB")):
        for number, way in enumerate(("left", "right") * 2):
            name = f"{colour}{site}{number}.mp4"
            colours.make_clip(root / name, f"{colour} {way}", 10 * at + number)
            lines.append(f"{name},{way},{colour},{site},a {colour} square goes {way}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


def across(**settings: Any) -> LoadedCard:
    """The card of data across places, on those of ``places``."""
    card = read_card(CHECKOUT / "evals" / "argo1m.toml").card
    own = {"file": "clips.csv", "left_out": {"domain": "green", "site": "B"}}
    fields = card.model_dump() | {"splits": [{"options": own}], "expected": {"labels": 2}}
    return LoadedCard(make_card(fields | {"settings": card.settings | settings}, "argo1m"))


def test_a_card_learns_with_an_objective_from_places_that_share_nothing_with_the_asked_one(
    tmp_path: Path,
):
    (run,) = run_card(across(settings={"mixup": 0, "epochs": 2}), places(tmp_path), colours.model())
    top1 = next(row for row in run["figures"] if row["name"] == "top1")
    assert (top1["n"], top1["where"]["seed"]) == (4, "0")


def test_clips_of_one_domain_alone_are_refused_by_the_objective(tmp_path: Path):
    root = places(tmp_path)
    lines = (root / "clips.csv").read_text().splitlines()
    (root / "clips.csv").write_text("\n".join(line for line in lines if ",blue," not in line))
    with pytest.raises(VlarError, match="domain"):
        list(run_card(across(), root, colours.model()))


def test_a_column_of_places_that_the_table_lacks_is_named(tmp_path: Path):
    root = places(tmp_path)
    text = (root / "clips.csv").read_text()
    (root / "clips.csv").write_text(text.replace(",site,", ",place,", 1))
    with pytest.raises(VlarError, match="no column 'site'"):
        list(run_card(across(), root, colours.model()))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"objectives": ["cirr"]}, "cirr"), ({"method": "auto"}, "closed form")],
)
def test_an_objective_that_cannot_be_is_refused_before_anything_is_read(
    tmp_path: Path, settings: dict[str, Any], says: str
):
    root, model = places(tmp_path), colours.model()
    with pytest.raises(VlarError, match=says):
        list(run_card(across(**settings), root, model))
    assert model.encoder.encoded == 0


def test_one_label_is_named(place: Path):
    guard, data = guarded(place)
    red = data.subset("train").of(["red"]).items
    refused(ProtocolError, "show 1 label: red", guard.fit_set, red)
