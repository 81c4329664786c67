"""Links: recordings of another sensor ask a library, by what unlabelled pairs taught."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel, store_of
from vlar.errors import QueryError, UsageError
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.query.links import Link, held_out, links, ridge
from vlar.library.query.plan import QueryReport
from vlar.numeric import unit
from vlar.types import Window

ACTIONS, TAKES = 3, 7


def wrist(path: Path, action: int, seed: int) -> Path:
    """Four seconds of a wrist that moves along the axis of its action."""
    time_s = np.arange(100) / 25
    draw = np.random.default_rng([action, seed])
    values = 0.05 * draw.normal(size=(100, 6))
    values[:, action] += (1 + action) * np.sin(2 * np.pi * 1.5 * time_s + draw.uniform(0, 6))
    names = [
        f"wrist_{kind}_{axis}_{u}" for kind, u in (("acc", "g"), ("gyro", "dps")) for axis in "xyz"
    ]
    rows = np.column_stack([time_s, values])
    lines = [",".join(f"{value:.4f}" for value in row) for row in rows]
    path.write_text("\n".join([",".join(["time_s", *names]), *lines]) + "\n")
    return path


def made(folder: Path) -> tuple[Library, Path]:
    """A library of three actions, five takes each, and the table of what the wrists recorded."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(ACTIONS, DIM))
    videos, rows = [], ["path.video,path.imu"]
    for action in range(ACTIONS):
        for take in range(TAKES):
            path = folder / f"{action}_{take}.mp4"
            vectors = unit(centres[action] + 0.2 * draw.normal(size=(1, DIM)))
            videos.append(VectorVideo(str(path), [Window(0, 4)], vectors.astype(np.float32)))
            rows.append(f"{path.name},{wrist(folder / f'{action}_{take}.csv', action, take).name}")
    library = Library(folder / "l.vlar", FakeModel())
    library.add_vectors(videos)
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows) + "\n")
    return library, table


def test_a_wrist_finds_the_videos_of_its_action_and_says_what_taught_it(tmp_path: Path):
    library, table = made(tmp_path)
    report = library.link(table)
    (link,) = report.links
    assert (link.sensor, link.pairs, link.recordings, report.failed) == ("imu", 21, 21, ())
    assert link.held_out > 0.75, "most others are of other actions"
    reports: list[QueryReport] = []
    for action in range(ACTIONS):
        asked = wrist(tmp_path / f"asked{action}.csv", action, 99)
        with Library(library.path, FakeModel(), create=False) as opened:
            hits = opened.query(f'LIKE "{asked}"', 3, min_probability=0, report=reports.append)
        assert Path(hits[0].path).name.startswith(f"{action}_")
        assert "learned from 21 pairs" in hits.learned_from[0]
        assert hits.learned_from == reports[-1].notes
    assert not library.query("a cat", min_probability=0).learned_from


def test_a_link_belongs_to_its_model(tmp_path: Path):
    library, table = made(tmp_path)
    asked = wrist(tmp_path / "asked.csv", 0, 99)
    with pytest.raises(QueryError, match="recording of imu, and the library holds video; teach it"):
        library.query(f'LIKE "{asked}"')
    (link,) = library.link(table).links
    with library._connection.writing() as writer, writer.transaction():
        writer.set_meta({"link:imu": replace(link, fingerprint="an earlier one").to_json()})
    with pytest.raises(UsageError, match="another state of the model; learn it again: vlar link"):
        library.query(f'LIKE "{asked}"')


def test_pairs_that_cannot_teach_are_refused_in_a_line(tmp_path: Path):
    library, table = made(tmp_path)
    with pytest.raises(UsageError, match="add bundles of several sensors"):
        library.link()
    few = tmp_path / "few.csv"
    few.write_text("".join(table.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(UsageError, match="4 pairs with imu in 4 recordings; a link needs at least"):
        library.link(few)
    (tmp_path / "0_0.csv").write_text("not,a,table\n")
    report = library.link(table)
    assert len(report.failed) == 1
    assert report.links[0].pairs == 20


def test_a_text_of_anybody_is_a_link_or_nothing(tmp_path: Path):
    library, table = made(tmp_path)
    (link,) = library.link(table).links
    facts = json.loads(link.to_json())
    assert Link.from_json(link.to_json()) is not None
    wrong = {
        "sensor": "../x",
        "held_out": float("nan"),
        "left": [2, 3, "AAAA"],
        "mean": [1, 1, "AACAfw=="],  # infinite
        "right": None,
        "pairs": {},
    }
    assert all(
        Link.from_json(json.dumps({**facts, key: value})) is None for key, value in wrong.items()
    )
    assert Link.from_json(link.to_json()[:99]) is None
    with library._connection.writing() as writer, writer.transaction():
        writer.set_meta({"link:imu": "[]"})
    assert links(store_of(library)) == {}


def test_shuffled_pairs_are_at_chance():
    draw = np.random.default_rng(3)
    hidden = draw.normal(size=(80, 6))
    signatures = (hidden @ draw.normal(size=(6, 40)) + draw.normal(size=(80, 40))).astype(
        np.float32
    )
    vectors = hidden @ draw.normal(size=(6, DIM))
    assert held_out(signatures, vectors, np.arange(80)) > 0.9
    shuffled = [
        held_out(signatures, vectors[draw.permutation(80)], np.arange(80)) for _ in range(5)
    ]
    assert abs(np.mean(shuffled) - 0.5) < 0.08
    mean, coefficients = ridge(signatures, vectors)
    assert (mean.shape, coefficients.shape) == ((40,), (40, DIM))
