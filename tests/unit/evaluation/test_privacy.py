"""Attackers find what clips give away, at chance what they do not; and bad attributes are named."""

# pyright: basic
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.evaluation import colours
from vlar.errors import ModelError, ProtocolError
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.protocols.attributes import ATTACKERS, attack
from vlar.evaluation.runner import make_plan, run_card
from vlar.metrics.figures import Figure
from vlar.types import Encoded

LABELS = ("red left", "red right", "blue left", "blue right", "green left", "yellow right")


def clips(values: np.ndarray, seed: int, how: str) -> list[Encoded]:
    """Eight frames of noise that tell the value by their mean, by their order, or not at all."""
    random, rows = np.random.default_rng(seed), []
    for value in values:
        features = random.normal(size=(8, 6)).astype(np.float32)
        rise = np.linspace(-3, 3, 8)
        features[:, 0] += {"mean": 4.0 * value, "order": rise * (2 * value - 1), "none": 0}[how]
        rows.append(Encoded(features, features.mean(axis=0)))
    return rows


@pytest.mark.parametrize(
    ("how", "found"),
    [("mean", set(ATTACKERS)), ("order", {"over time"}), ("none", set())],
)
def test_attackers_find_what_is_there(how: str, found: set[str]):
    values = np.arange(60) % 2
    said = attack(clips(values, 0, how), values, clips(values, 1, how), 0)
    assert tuple(said) == ATTACKERS
    right = {name for name, answers in said.items() if (answers == values).mean() > 0.75}
    assert right == found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("privacy")
    colours.folder(root / "data", LABELS, 2)
    return colours.people(root / "people", root / "data")


def card(**settings: Any) -> LoadedCard:
    values = {"name": "attributes", "protocol": "attributes", "data": {"layout": "csv"}}
    return LoadedCard(make_card({**values, "settings": {"seeds": [0], **settings}}, "attributes"))


@pytest.mark.slow
def test_the_way_is_found_and_permuted_labels_are_at_chance(place: Path):
    table = (place / "clips.csv").read_text().splitlines()
    rows = [f"{row.rsplit(',', 1)[0]},{row.split(',')[1].split()[1]}" for row in table[1:]]
    (place / "clips.csv").write_text("\n".join([table[0], *rows]) + "\n")
    (run,) = run_card(card(shares=[1.0], seeds=[1]), place, colours.model())
    found = {
        (row.name, row.where.get("form"), row.where.get("attacker")): row.value
        for row in map(Figure.restore, run["figures"])
    }
    ways = {form: found["attribute", form, "strongest"] for _, form, _ in found if form}
    assert ways["all features"] > 0.9  # left or right
    assert ways["100% of tokens by words"] > 0.9  # the vector alone
    assert ways["labels permuted"] < 0.8
    assert found["action", "removal erase", "strongest"] > 0.3  # colours, six labels
    assert found["attribute chance", None, None] == 0.5
    assert not any("tokens by random" in form for form in ways)  # no tokens here
    for attacker in ATTACKERS:
        assert found["attribute", "removal erase", attacker] <= ways["removal erase"]


def test_clips_that_cannot_be_read_are_counted_out_first(place: Path, tmp_path: Path):
    rows = (place / "clips.csv").read_text().splitlines()
    own = [row for row in rows if ",red left," in row][1:]
    broken = [f"{number}.mp4,{row.split(',', 1)[1]}" for number, row in enumerate(own)]
    for number in range(len(own)):
        (tmp_path / f"{number}.mp4").write_bytes(b"not a video")
    kept = [row for row in rows if row not in own]
    (tmp_path / "clips.csv").write_text("\n".join([*kept, *broken]) + "\n")
    run = run_card(card(shares=[1.0]), tmp_path, colours.model())
    refused(ProtocolError, "'red left' has too few clips", list, run)


def test_bad_cards_are_refused(place: Path, tmp_path: Path):
    files = sorted(file for file in place.parent.glob("data/*/*/*.mp4"))
    table = tmp_path / "clips.csv"
    text = ["path,label,group,subject,one,empty,few"]
    for number, file in enumerate(files):
        few = "a" if number else "b"
        empty = "x" if number % 2 else ""
        group = f"{file.stem[:4]}{file.stem[-1]}"
        text.append(f"{file},{file.parent.name},{group},{number % 2},same,{empty},{few}")
    table.write_text("\n".join(text) + "\n")
    rows = [
        (ProtocolError, "'one' has one value", {"attribute": "one"}),
        (ProtocolError, "'empty' has an empty cell", {"attribute": "empty"}),
        (ProtocolError, "'missing' has an empty cell", {"attribute": "missing"}),
        (ProtocolError, "'b' has too few clips", {"attribute": "few"}),
        (ModelError, "share is 0", {"shares": [0.0]}),
        (ModelError, "share is 1.5", {"shares": [1.5]}),
    ]
    for error, says, settings in rows:
        refused(error, says, make_plan, card(**settings), "attributes", tmp_path)
