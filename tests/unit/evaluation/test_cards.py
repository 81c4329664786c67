"""Cards and suites of ``evals/`` parse, and their runs go through."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import fake_datasets
from tests.conftest import CHECKOUT
from tests.refusals import refused
from tests.unit.encoders.clip.models import openclip_config, save_openclip
from tests.unit.evaluation import colours
from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.cards import (
    LoadedCard,
    make_card,
    read_card,
    read_suite,
    table_rows,
    write_table,
)
from vlar.evaluation.datasets.base import lines_of
from vlar.evaluation.features import spelled_as
from vlar.evaluation.report import rows, sentence
from vlar.evaluation.runner import MissingSetError, make_plan, run_card

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


EVALS = Path(__file__).resolve().parents[3] / "evals"

BEAR = sorted((EVALS / "bear").glob("*.toml"))

PUBLISHED = sorted((EVALS / "published").glob("*.toml"))


# Spec of the benchmark: classes and clips of each set.
BEAR_SETS = {
    "XD-Violence": (5, 4135), "UCF-Crime": (12, 600), "MUVIM": (2, 1127), "WLASL100": (100, 1375),
    "Jester": (27, 133349), "UAV-Human": (155, 22476), "CharadesEgo": (157, 42107),
    "Toyota-Smarthome": (31, 14262), "Mini-HACS": (200, 10000), "MPII-Cooking": (67, 3748),
    "Mini-Sports1M": (487, 24350), "FineGym99": (99, 20389), "MOD20": (20, 2324),
    "COIN": (180, 10426), "MECCANO": (61, 7880), "InHARD": (14, 5303), "PETRAW": (7, 9727),
    "MISAW": (20, 1551),
}  # fmt: skip


def ids(file: Path) -> str:
    return file.stem


# A suite holds several cards; tests/unit/evaluation/test_cards.py reads it.
CARDS = [f for f in EVALS.glob("*.toml") if "cards" not in tomllib.loads(f.read_text("utf-8"))]


@pytest.mark.parametrize("file", [*CARDS, *BEAR, *PUBLISHED], ids=ids)
def test_every_card_parses_and_its_lists_have_their_hashes(file: Path):
    card = read_card(file)
    values = tomllib.loads(file.read_text("utf-8"))
    names = [name for name in card.card.hashes if "lists/" in name]
    for name in names:
        assert card.labels(name), name
    with_files = [x for x in str(values).split("'") if x.startswith(("lists/", "../lists/"))]
    assert set(with_files) <= set(names), "a list without a hash could change unseen"


def test_bear_has_18_cards_with_the_published_counts():
    found = {}
    for file in BEAR:
        card = read_card(file).card
        expected = (card.expected["labels"], card.expected["clips"])
        found[card.name.removeprefix("BEAR ")] = expected
        assert card.protocols == ["supervised", "few-shot", "zero-shot"]
        assert {"domain", "view", "licence", "obtain"} <= card.about.keys()
    assert found == BEAR_SETS
    domains = Counter(read_card(file).card.about["domain"] for file in BEAR)
    assert len(domains) == 5


@pytest.mark.parametrize("file", BEAR, ids=ids)
def test_a_missing_set_is_missing(file: Path, tmp_path: Path):
    with pytest.raises(MissingSetError, match="so this set is missing"):
        make_plan(read_card(file), "zero-shot", tmp_path)


def bear_set(root: Path, lists: dict[str, list[str]]) -> Path:
    """XD-Violence with five classes, three clips each in train and in test."""
    folder = fake_datasets.lists(root / "XD-Violence", ("abuse", "crash", "blast", "fight", "riot"))
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return root


def bear_card(**settings: Any) -> LoadedCard:
    values = tomllib.loads((EVALS / "bear" / "xd_violence.toml").read_text("utf-8"))
    values["expected"] = {"labels": 5, "clips": 30}
    values["settings"]["few-shot"] |= {"shots": [2], "seeds": [1], **settings}
    return LoadedCard(make_card(values, "card"))


def shots(*counts: int) -> list[str]:
    return [f"train/train_{c}_{n} 8 {c}" for c, count in enumerate(counts) for n in range(count)]


def test_k_shot_lists_are_exact_or_refused(tmp_path: Path):
    root = bear_set(tmp_path, {"few_shot_2_1.csv": shots(2, 2, 2, 2, 2)})
    for protocol in ("supervised", "few-shot", "zero-shot"):
        make_plan(bear_card(), protocol, root)
    (root / "XD-Violence" / "few_shot_2_1.csv").write_text("\n".join(shots(2, 2, 3, 2, 1)))
    with pytest.raises(
        ProtocolError, match=r"2 labels have not exactly 2 clips: blast \(3\), riot"
    ):
        make_plan(bear_card(), "few-shot", root)
    refused(DatasetError, r"few_shot_4_1\.csv", make_plan, bear_card(shots=[4]), "few-shot", root)


def test_a_plain_folder_is_told_what_a_protocol_that_learns_needs(tmp_path: Path):
    for label in ("walk", "wave"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.mp4").touch()
    needs = rf"few-shot learns .*{tmp_path}/train/LABEL/ .*{tmp_path}/test/LABEL/.*path,label,split"
    card = LoadedCard(make_card({"name": "x", "protocol": "few-shot"}, "x"))
    refused(DatasetError, needs, make_plan, card, "few-shot", tmp_path)
    card = LoadedCard(make_card({"name": "x", "protocol": "episodes"}, "x"))
    refused(ProtocolError, "--set ways=2", make_plan, card, "episodes", tmp_path)
    card = LoadedCard(make_card({"name": "x", "protocol": "cross-dataset"}, "x"))
    refused(ProtocolError, "a protocol file with", make_plan, card, "cross-dataset", tmp_path)


def test_bear_counts_and_splits_are_held(tmp_path: Path):
    root = bear_set(tmp_path, {"few_shot_2_1.csv": shots(2, 2, 2, 2, 2)})
    real = read_card(EVALS / "bear" / "xd_violence.toml")
    refused(ProtocolError, "30 clips where the card says 4135", make_plan, real, "zero-shot", root)
    test = root / "XD-Violence" / "test.csv"
    test.write_text(test.read_text() + "train/train_0_0 8 0\n")
    card = bear_card()
    card.card.expected.clear()
    refused(ProtocolError, "disjoint", make_plan, card, "zero-shot", root)


SPLITS = Path(os.environ.get("VLAR_SHARED", CHECKOUT.parent / "shared")) / "splits"


@pytest.mark.skipif(not SPLITS.is_dir(), reason="the official lists are not on this machine")
@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400", "ssv2"])
def test_the_lists_hold_labels_of_their_data_sets(name: str):
    known = lines_of(SPLITS / f"{name}_labels.txt")
    for file in (EVALS / "lists").glob(f"*{name}*.txt"):
        listed = [line for line in lines_of(file) if not line.startswith("#")]
        strange = set(spelled_as(listed, known)) - set(known)
        assert not strange, f"{file.name}: {strange}"
        assert len(set(spelled_as(listed, known))) == len(listed)


def reduced(file: Path, root: Path) -> LoadedCard:
    """A published card over two or four of its labels, with a data set of tiny clips of these."""
    values = tomllib.loads(file.read_text("utf-8"))
    values["hashes"], values["expected"] = {}, {}
    settings, data = values["settings"], values["data"]

    def some(name: str, n: int = 2) -> list[str]:
        lines = (file.parent / name).read_text("utf-8").splitlines()
        return lines[:n]

    labels: list[str] = ["archery", "bowling"]
    if "ntu" in file.stem:
        data["options"] = {}
    for half in ("base", "novel"):
        if half in settings:
            settings[half] = some(settings[half])
    if "base" in settings:
        labels = [*settings["base"], *settings["novel"]]
        settings |= {"shots": 1, "seeds": [1, 2]}
    if values["protocol"] == "few-shot":
        settings |= {"shots": [2]}
    for split in values.get("splits", []):
        if "labels" in split:
            split["labels"] = some(split["labels"])
            labels = [*labels, *split["labels"]]
    labels = list(dict.fromkeys(labels))
    if "trained_on" in settings:
        settings["trained_on"] = str(file.parent / settings["trained_on"])
    make_data(data["layout"], root / data["folder"], labels)
    return LoadedCard(make_card(values, str(file)), file)


def make_data(layout: str, root: Path, labels: list[str]) -> None:
    if layout == "folder":
        for at, label in enumerate(labels):
            for n in range(2):
                fake_datasets.make_clip(root / label / f"{n}.mp4", 10 * at + n)
    elif layout == "kinetics":
        fake_datasets.kinetics(root, labels, 2, ("train", "val", "test"))
    elif layout == "ssv2":
        fake_datasets.ssv2(root, [label.replace("something", "[something]") for label in labels])
    else:
        getattr(fake_datasets, layout)(root, labels)


@pytest.mark.parametrize("file", PUBLISHED, ids=ids)
def test_a_published_row_is_planned_on_data_of_its_layout(file: Path, tmp_path: Path):
    card = reduced(file, tmp_path)
    protocol, plan = make_plan(card, card.card.protocols[0], tmp_path)
    assert plan.parts[0].test.items
    assert card.card.published
    assert card.card.needs_model
    assert "differs" in card.card.about
    assert all(row.source and 0 < row.value < 1 for row in card.card.published)
    assert protocol.name == card.card.protocols[0]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CLIP of three layers with random weights, as a hub would hold it."""
    folder = tmp_path_factory.mktemp("tower") / "tiny"
    save_openclip(folder, openclip_config())
    return f"openclip:{folder}"


@pytest.mark.parametrize(
    "name",
    ["tc-clip_zero-shot_hmdb51", "ez-clip_zero-shot_ucf101", "froster_zero-shot_kinetics600"],
)
def test_a_published_zero_shot_row_runs_on_tiny_towers(name: str, tmp_path: Path, tower: str):
    check_run(name, tmp_path, tower)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "tc-clip_few-shot_hmdb51", "tc-clip_base-to-novel_ucf101", "ez-clip_base-to-novel_hmdb51",
        "froster_base-to-novel_ssv2", "tc-clip_supervised_kinetics400",
    ],
)  # fmt: skip
def test_a_published_trained_row_runs_on_tiny_towers(name: str, tmp_path: Path, tower: str):
    check_run(name, tmp_path, tower)


def check_run(name: str, folder: Path, tower: str) -> None:
    import vlar

    card = reduced(EVALS / "published" / f"{name}.toml", folder)
    card.card.templates = "plain"  # one text a label instead of eighty
    (run,) = run_card(card, folder, vlar.load(tower), controls=False)
    table = [sentence(row) for row in rows([run])]
    assert any("published:" in line for line in table), "\n".join(table)


ROOT = Path(__file__).resolve().parents[3]


SUITE = """
name = "two"
[[cards]]
name = "ways"
protocol = ["zero-shot", "retrieval"]
[[cards]]
name = "learned"
protocol = "few-shot"
controls = false
[cards.settings]
shots = [1]
seeds = [0]
method = "prototype"
[[rows]]
name = "by texts: top-1 / chance"
card = "ways"
protocol = "zero-shot"
figure = "top1"
control = "chance"
[[rows]]
name = "reversed"
card = "ways"
protocol = "zero-shot"
figure = "top1"
where = {under = "reverse/5"}
[[rows]]
name = "learned / chance"
card = "learned"
protocol = "few-shot"
figure = "top1"
where = {shots = "1", seed = "0"}
control = "chance"
control_where = {}
"""


COST = ("CPU time of a clip, ms", "memory at most, MB")

LABELS = ("red left", "red right", "blue left", "blue right")


def suite(tmp_path: Path, text: str = SUITE):
    file = tmp_path / "two.toml"
    file.write_text(text)
    return read_suite(file)


@pytest.fixture(scope="module")
def suite_rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    place = tmp_path_factory.mktemp("suite")
    data, model, read = colours.folder(place / "data", LABELS, 2), colours.model(), suite(place)
    runs: list[dict[str, Any]] = []
    for card, controls in zip(read.cards, read.controls, strict=True):
        runs += run_card(card, data, model, controls=controls)
    assert all("under" not in f["where"] for run in runs[2:] for f in run["figures"])
    return table_rows(read, runs)


def test_cells_are_the_figures_of_the_runs(suite_rows: list[tuple[str, str]]):
    cells = dict(suite_rows)
    # The encoder is right on every clip, reads the way from the order alone, and chance is 1 in 4.
    assert cells["by texts: top-1 / chance"].startswith("100.0 [")
    assert cells["by texts: top-1 / chance"].endswith("/ 25.0")
    assert cells["reversed"].startswith("0.0 [")
    assert cells["learned / chance"].endswith("/ 25.0")
    assert list(cells)[-2:] == list(COST)


def test_a_page_keeps_its_text_and_other_models(tmp_path: Path, suite_rows: list[tuple[str, str]]):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- two -->\nold\n<!-- /two -->\nafter\n")
    write_table(page, "two", "first", suite_rows)
    write_table(page, "two", "second", [(name, "-") for name, _ in suite_rows])
    write_table(page, "two", "first", [(name, "1.0") for name, _ in suite_rows])
    text = page.read_text()
    assert text.startswith("before\n<!-- two -->\n")
    assert text.endswith("<!-- /two -->\nafter\n")
    assert "| two | `first` | `second` |" in text
    assert text.count("| 1.0 | - |") == len(suite_rows)
    write_table(page, "two", "third", [("another row", "2.0")])
    assert "`first`" not in page.read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (SUITE.replace('card = "learned"', 'card = "lerned"'), "a card 'lerned', which does not"),
        (SUITE.replace('"zero-shot"\nfigure', '"spans"\nfigure', 1), "asks for protocol 'spans'"),
        (SUITE.replace('name = "learned"', 'name = "ways"'), "two cards are called 'ways'"),
        (SUITE.replace("control =", "kontrol =", 1), "unknown key 'kontrol'"),
    ],
)
def test_a_wrong_suite_is_named(tmp_path: Path, wrong: str, said: str):
    refused(ProtocolError, said, suite, tmp_path, wrong)


def test_a_row_without_its_figure_is_named(tmp_path: Path):
    read = suite(tmp_path)
    run = {"card": "ways", "protocol": "zero-shot", "figures": []}
    refused(ProtocolError, r"no figure 'top1' of \{\}; there are none", table_rows, read, [run])


@pytest.mark.parametrize("text", ["none", "<!-- two -->"])
def test_a_page_without_markers_is_refused(tmp_path: Path, text: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ProtocolError, match="put them where the table belongs"):
        write_table(page, "two", "m", [("a", "b")])


def test_the_table_of_figures_is_the_one_of_the_mini_benchmark():
    """Its rows are those of ``evals/mini.toml``; every cell of a figure holds its control."""
    read = read_suite(ROOT / "evals" / "mini.toml")
    text = (ROOT / "docs" / "figures.md").read_text("utf-8")
    table = text.partition("<!-- mini -->")[2].partition("<!-- /mini -->")[0].strip()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len(lines[0]) >= 3, "at least a model and a control model"
    names = [row.name for row in read.rows]
    assert [line[0] for line in lines[2:]] == [*names, *COST]
    shape = re.compile(r"(\d+\.\d|-)( \[\d+ to \d+\])? / (\d+\.\d|-)")
    for line in lines[2 : 2 + len(names)]:
        assert len(line) == len(lines[0])
        assert all(shape.fullmatch(cell) for cell in line[1:]), line
