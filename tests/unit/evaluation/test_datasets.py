"""Layouts of data sets, and halves of their classes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests import fake_datasets
from tests.conftest import CHECKOUT
from tests.refusals import refused
from vlar.errors import DatasetError
from vlar.evaluation.cards import read_card
from vlar.evaluation.datasets.base import DatasetSplit, Subset, read_dataset
from vlar.evaluation.datasets.lists import descriptions
from vlar.evaluation.datasets.tables import arranged
from vlar.heads.support import SupportItem
from vlar.language.bank import load_bank
from vlar.language.pairs import pair_label


def test_ucf101_has_three_splits_by_group(tmp_path: Path):
    root = fake_datasets.ucf101(tmp_path)
    for split in (1, 2, 3):
        data = read_dataset(root, "ucf101", {"split": split})
        assert {item.group[-3:] for item in data.subset("test").items} == {f"g0{split}"}
        assert len(data.subset("train")) == 2 * len(data.subset("test"))
    assert set(data.files) == {"classInd.txt", "trainlist03.txt", "testlist03.txt"}


def test_ucf101_names_a_label_that_is_not_in_the_list(tmp_path: Path):
    root = fake_datasets.ucf101(tmp_path, ("Archery",), clips=1)
    file = root / "ucfTrainTestlist" / "testlist01.txt"
    file.write_text(file.read_text() + "Diving/v_Diving_g01_c01.avi\n")
    refused(DatasetError, r"testlist01.txt, line 2: label 'Diving' is not in", read_dataset, root)


def test_ucf101_names_a_wrong_class_number(tmp_path: Path):
    root = fake_datasets.ucf101(tmp_path, ("Archery", "Diving"), clips=1)
    file = root / "ucfTrainTestlist" / "trainlist01.txt"
    file.write_text(file.read_text().replace(" 2", " 1"))
    refused(DatasetError, "class 1 is not 'Diving', which is 2", read_dataset, root)


def test_hmdb51_leaves_out_what_the_split_does_not_use_and_counts_it(tmp_path: Path):
    data = read_dataset(fake_datasets.hmdb51(tmp_path))
    assert (len(data.subset("train")), len(data.subset("test"))) == (4, 2)
    assert data.notes == ("2 clips are in neither subset of split 1",)
    assert {item.group for item in data.subset("test").items} == {"Film0"}


def test_kinetics_finds_names_with_their_times_and_plain_ones(tmp_path: Path):
    root = fake_datasets.kinetics(tmp_path)
    clips = read_dataset(root).subset("val").items
    assert clips[0].path.name == "v0-_0abc_000010_000020.mp4"
    clips[0].path.rename(clips[0].path.with_name("v0-_0abc.mp4"))
    assert not read_dataset(root).subset("val").missing


def test_charades_as_labels_and_as_spans(tmp_path: Path):
    root = fake_datasets.charades(tmp_path)
    data = read_dataset(root)
    first = data.subset("test").items[0]
    assert first.labels == ("Putting a cup down", "Holding clothes")
    assert data.notes == ("test: 1 videos show no action and are left out",)
    spans = read_dataset(root, None, {"spans": True}).subset("test").items
    assert [(s.label, s.window.start_s, s.window.end_s) for s in spans if s.window][:2] == [
        ("Putting a cup down", 0.0, 0.5),
        ("Holding clothes", 0.4, 0.9),
    ]


def test_epic_gives_parts_spans_and_participants(tmp_path: Path):
    item = read_dataset(fake_datasets.epic(tmp_path)).subset("val").items[3]
    assert (item.label, dict(item.parts)) == ("put cup", {"verb": "put", "object": "cup"})
    assert item.group == "P02"
    assert item.window is not None
    assert item.window.duration_s == pytest.approx(0.4)


def test_sth_com_puts_the_object_into_its_place(tmp_path: Path):
    item = read_dataset(fake_datasets.sth_com(tmp_path)).subset("test").items[0]
    assert item.label == "Closing box"
    assert dict(item.parts) == {"verb": "Closing [something]", "object": "box"}
    assert pair_label("Holding", "a cup") == "Holding a cup"


def test_lists_with_commas_frames_and_numbers_out_of_range(tmp_path: Path):
    root = fake_datasets.lists(tmp_path)
    (root / "few.csv").write_text("test/test_0_0.mp4,0\ntest/test_1_1.mp4,1\n")
    data = read_dataset(root, "lists", {"files": {"test": "few.csv"}})
    assert [item.label for item in data.subset("test").items] == ["fall", "no fall"]
    (root / "few.csv").write_text("test/test_0_0.mp4,2\n")
    with pytest.raises(DatasetError, match=r"few\.csv, line 1: class '2' is not a number below 2"):
        read_dataset(root, "lists", {"files": {"test": "few.csv"}})


def test_a_table_chooses_columns_and_rows(tmp_path: Path):
    for n in range(3):
        fake_datasets.make_clip(tmp_path / f"{n}.mp4", n)
    (tmp_path / "manifest.csv").write_text(
        "path,label,readable_label,dataset,start_s,end_s\n"
        '0.mp4,A,"to a, b",x,0,1\n1.mp4,B,be,x,,\n2.mp4,C,see,y,,\n'
    )
    options = {"label": "readable_label", "where": {"dataset": "x"}}
    data = read_dataset(tmp_path, "csv", options)
    assert data.labels == ("be", "to a, b")
    assert data.subset("test").items[0].window is not None
    refused(DatasetError, "no row with", read_dataset, tmp_path, "csv", {"where": {"dataset": "z"}})


def test_an_empty_class_is_named(tmp_path: Path):
    root = fake_datasets.folder(tmp_path)
    (root / "test" / "yawn").mkdir()
    refused(DatasetError, "'yawn' is an empty class", read_dataset, root)


SPLITS = Path(os.environ.get("VLAR_SHARED", CHECKOUT.parent / "shared")) / "splits"


@pytest.mark.slow
@pytest.mark.skipif(not SPLITS.is_dir(), reason="the official lists are not on this machine")
def test_the_official_lists_read_with_their_published_counts(tmp_path: Path):
    (tmp_path / "u").mkdir()
    (tmp_path / "h").mkdir()
    (tmp_path / "u" / "ucfTrainTestlist").symlink_to(SPLITS / "ucf101_official")
    (tmp_path / "h" / "splits").symlink_to(SPLITS / "hmdb51_official")
    sizes = []
    for split in (1, 2, 3):
        data = read_dataset(tmp_path / "u", "ucf101", {"split": split})
        sizes.append((len(data.subset("train")), len(data.subset("test")), len(data.labels)))
    assert sizes == [(9537, 3783, 101), (9586, 3734, 101), (9624, 3696, 101)]
    for split in (1, 2, 3):
        data = read_dataset(tmp_path / "h", "hmdb51", {"split": split})
        assert (len(data.subset("train")), len(data.subset("test"))) == (3570, 1530)
        assert len(data.labels) == 51
        assert not data.subset("test").items


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


CELLS = st.tuples(st.sampled_from("pq"), st.sampled_from(["bar", "den"]), st.sampled_from("xy"))


@given(st.lists(CELLS, min_size=1))
def test_a_place_that_is_left_out_shares_nothing_with_what_teaches(
    rows: list[tuple[str, str, str]],
):
    items = tuple(
        SupportItem(Path(f"{n}.mp4"), None, (label,), label, facts={"domain": a, "site": b})
        for n, (label, a, b) in enumerate(rows)
    )
    data = DatasetSplit("csv", Path("data"), ("p", "q"), {"test": Subset(items, ())})
    assume(any((a == "bar") == (b == "x") for _, a, b in rows))
    subsets = arranged(data, {"left_out": {"domain": "bar", "site": "x"}}).subsets
    train, test = subsets["train"].items, subsets["test"].items
    assert all(i.facts == {"domain": "bar", "site": "x"} for i in test)
    assert all(i.facts == {"domain": "den", "site": "y"} for i in train)
    mixed = sum((a == "bar") != (b == "x") for _, a, b in rows)
    assert len(train) + len(test) + mixed == len(rows)


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


def test_what_leaves_nothing_is_refused():
    for options, said in [
        ({"parts": {"fly": ["fly", "kite"]}}, "no clip is left of 4 labels"),
        ({"parts": {"walk": ["walk"]}}, "'walk' has the parts \\['walk'\\]"),
    ]:
        refused(DatasetError, said, arranged, table(*ROWS), options)


def test_subjects_of_two_lists_of_events_are_noted(tmp_path: Path):
    people = {"train": (1, 45), "val": (3, 4), "test": (4, 45)}
    data = read_dataset(fake_datasets.dailydvs200(tmp_path / "a", people))
    assert data.labels == ("walk", "clap hands")
    assert {len(sha256) for sha256 in data.files.values()} == {64}
    assert set(data.files) == {"action_description.csv", "train.txt", "val.txt", "test.txt"}
    assert data.notes == (
        "2 recordings of val are in test too: left out of it",
        "2 recordings of train are in test too: left out of it",
    )
    assert len(data.subset("val").items) == 2
    (one, *_) = data.subset("test").items
    assert (one.label, one.group) == ("walk", "subject 4")
    assert read_dataset(fake_datasets.dailydvs200(tmp_path / "b")).notes == ()
    lines = (tmp_path / "a" / "test.txt").read_text()
    for wrong in ("video.aedat4", "C9P1M0S1_x.aedat4"):
        (tmp_path / "a" / "test.txt").write_text(lines + wrong + "\n")
        refused(DatasetError, r"line 5: .* class below 2", read_dataset, tmp_path / "a")


EVALS = Path(__file__).resolve().parents[3] / "evals"


def lists_of_ntu(root: Path, *classes: str) -> str:
    """Run ``evals/ntu.py`` on a folder; what it prints."""
    command = [sys.executable, str(EVALS / "ntu.py"), str(root), "--classes", *classes]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_names_of_ntu_state_who_teaches(tmp_path: Path):
    root = fake_datasets.ntu(tmp_path / "a", (1, 55))
    (root / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text("3\nS001C001P001R001A001\n")
    lists_of_ntu(root, "60", "26")
    for card, teach, ask in (
        ("ntu60_subject", {1, 4}, {3, 6}),
        ("ntu60_view", {3, 4}, {1, 6}),
        ("ntu26_setup", {3, 6}, {1, 4}),
    ):
        options = read_card(EVALS / "published" / f"skeleton-net_{card}.toml").card.data.options
        data = read_dataset(root, "lists", options)
        for name, subjects in (("train", teach), ("test", ask)):
            names = [item.path.name for item in data.subset(name).items]
            assert {int(recording[9:12]) for recording in names} == subjects
            assert not data.subset(name).missing
            assert "S001C001P001R001A001.skeleton" not in names
    assert data.subset("test").labels == {"hug other person"}
    assert data.subset("test").labels < set(data.labels)


@pytest.mark.parametrize("classes", ["60", "120", "26"])
def test_labels_of_ntu_are_the_list_that_a_model_is_given(tmp_path: Path, classes: str):
    root = fake_datasets.ntu(tmp_path / "a", (55,))
    assert f"ntu{classes}_view_test.txt: 2 recordings" in lists_of_ntu(root, classes)
    given = (EVALS / "lists" / f"ntu{classes}.txt").read_text("utf-8")
    assert (root / f"ntu{classes}_labels.txt").read_text("utf-8") == given


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id,action,description\n0,walk,Someone walks.\n1,run,Runs.\n", ["walk", "run"]),
        ("0,walk\n1,run\n", ["walk", "run"]),
        ("walk,Someone walks.\nrun,Runs.\n", ["walk", "run"]),
    ],
)
def test_sentences_of_classes(tmp_path: Path, text: str, found: list[str]):
    file = tmp_path / "a.csv"
    file.write_text(text)
    assert [name for name, _ in descriptions(file)] == found
    file.write_text(text + text.splitlines()[-1].replace("1,", "2,", 1) + "\n")
    assert [name for name, _ in descriptions(file)] == [found[0], "run (1)", "run (2)"]
    file.write_text("0,walk\n1,\n")
    refused(DatasetError, "a class has an empty name", descriptions, file)


def test_the_sentences_become_a_bank(tmp_path: Path):
    root = fake_datasets.dailydvs200(tmp_path / "a", classes=3)
    out = tmp_path / "dailydvs200.json"
    script = Path(__file__).resolve().parents[3] / "evals" / "dailydvs200.py"
    command = [sys.executable, str(script), str(root / "action_description.csv"), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    bank = load_bank(str(out))
    assert [entry.label for entry in bank.entries] == ["walk", "clap hands", "jump"]
    assert bank.entries[0].describe("sentence") == ("Someone, 0, moves.",)
