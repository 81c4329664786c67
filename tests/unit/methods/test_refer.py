"""The network of ``refer`` learns whom a sentence means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.people.made import Given, clip, scene, track
from tests.unit.training.fakes import FakeEncoder
from vlar.errors import SupportError, UsageError
from vlar.heads.support import SupportItem, read_support
from vlar.language.referring import parse
from vlar.methods.refer.adapter import Refer, describe
from vlar.methods.refer.learner import PointingLearner, PointingRow, train
from vlar.model.core import ModelCore
from vlar.model.method import AdaptTask, Method
from vlar.numeric import unit
from vlar.people.people import find_people
from vlar.people.subject_selection import choose
from vlar.types import Encoded

SMALL = {"width": 16, "heads": 2, "tokens": 3, "people": 3}


def rows(count: int, phrases: dict[str, int], seed: int = 0) -> list[PointingRow]:
    """Examples of three people, whose phrase means one of them by the place in ``phrases``."""
    random = np.random.default_rng(seed)
    people = find_people(clip(scene([])), Given(*(track(25 + 50 * n) for n in range(3))))
    found = []
    for number in range(count):
        vectors = unit(random.standard_normal((4, 12)).astype(np.float32))
        cuts = [Encoded(np.zeros((8, 12), np.float32), vector) for vector in vectors[:3]]
        phrase = list(phrases)[number % len(phrases)]
        item = SupportItem(
            Path(f"{number}"), None, (("a", "b")[number % 2],), f"g{number}", who=phrase, person=1
        )
        worn = [random.random(11).astype(np.float32) for _ in range(3)]
        measured = choose(people.tracks, parse(phrase), worn).weights
        described = describe(people, vectors[:3], worn)
        found.append(PointingRow(item, described, vectors[3], cuts, measured, phrases[phrase]))
    return found


@pytest.mark.slow
def test_it_learns_a_phrase_that_nothing_measures():
    """ "the captain" is always the third person, "the guest" the first: no measure knows that."""
    phrases = {"the captain": 2, "the guest": 0, "the referee": 1}
    core = ModelCore(FakeEncoder())
    adapter = Refer.attach(core.encoder, SMALL)
    held_out, loss, steps = train(adapter, core, rows(45, phrases), ("a", "b"), 0, steps=100)
    assert held_out is not None
    assert held_out > 0.9
    assert steps > 0
    assert np.isfinite(loss)


@pytest.mark.slow
def test_shuffled_phrases_teach_nothing():
    phrases = {"the captain": 2, "the guest": 0, "the referee": 1}
    made = rows(45, phrases)
    random = np.random.default_rng(1)
    from dataclasses import replace

    shuffled = [
        replace(row, place=int(place))
        for row, place in zip(made, random.integers(0, 3, 45), strict=True)
    ]
    core = ModelCore(FakeEncoder())
    adapter = Refer.attach(core.encoder, SMALL)
    held_out, _, _ = train(adapter, core, shuffled, ("a", "b"), 0, steps=100)
    assert held_out is not None
    assert held_out < 0.75


def test_where_measures_are_right_the_network_adds_nothing():
    phrases = {"the person on the left": 0, "the person on the right": 2}
    core = ModelCore(FakeEncoder())
    adapter = Refer.attach(core.encoder, SMALL)
    held_out, _, steps = train(adapter, core, rows(20, phrases), ("a", "b"), 0, steps=100)
    assert (held_out, steps) == (1.0, 0)
    assert float(adapter.network.gain) == 0.0


def request(tmp_path: Path, header: str, row: str) -> AdaptTask:
    file = tmp_path / "people.csv"
    file.write_text(f"{header}\n{row.format('walk')}\n{row.format('run')}\n")
    found = read_support(file)
    return AdaptTask(Method.of("refer"), found, list(found.items))


def test_examples_must_say_who_is_meant(tmp_path: Path):
    asked = request(tmp_path, "path,label", "a.mp4,{}")
    with pytest.raises(SupportError, match="does not say who is meant"):
        PointingLearner().fit(ModelCore(FakeEncoder()), asked)


def test_objectives_are_refused(tmp_path: Path):
    from dataclasses import replace

    asked = request(tmp_path, "path,label,who", "a.mp4,{},person 1")
    asked = replace(asked, method=replace(asked.method, objectives=("tree",)))
    with pytest.raises(UsageError, match="no objectives"):
        PointingLearner().fit(ModelCore(FakeEncoder()), asked)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("the,1", "column 'who'"), ("person 1,zero", "column 'person'"), ("person 1,0", "'person'")],
)
def test_wrong_cells_are_named(tmp_path: Path, cell: str, reason: str):
    with pytest.raises(SupportError, match=reason):
        request(tmp_path, "path,label,who,person", "a.mp4,{}," + cell)


def test_who_and_person_are_read(tmp_path: Path):
    asked = request(tmp_path, "path,label,who,person", "a.mp4,{},the man in red,2")
    assert [(item.who, item.person) for item in asked.items] == [("the man in red", 2)] * 2
