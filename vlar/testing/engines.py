"""The contract of a search engine, as a check; rows are random vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.library.engines.base import Engine
from vlar.library.library import Library
from vlar.library.rows import RowFilter
from vlar.testing.contract import name_of, registered, run, skip
from vlar.testing.material import MemoryRows, PictureModel, connection_of, tiny_video
from vlar.types import Float32

ROWS, WIDTH = 600, 16
EngineClass = type[Engine]


def check_engine(part: Any) -> None:
    """Try an engine on random rows, and in a whole library of eight videos.

    Args:
        part: The engine: a class, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.library.engines.base.Engine``.
        unittest.SkipTest: a library that it needs is not installed.
    """
    part = registry.get("engine", part) if isinstance(part, str) else part
    cls: EngineClass = part if isinstance(part, type) else type(part)
    name = name_of("engine", cls)
    if not cls.available():
        raise skip(f"a library that engine {name!r} needs is not installed")
    with registered("engine", name, cls):
        run("engine", name, STEPS, cls)


def unit_rows(count: int, seed: int) -> Float32:
    """(count, WIDTH) random vectors of unit length, as they are stored."""
    rows = np.random.default_rng(seed).normal(size=(count, WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def recall(
    engine: Engine, rows: dict[int, Float32], query: Float32, k: int, allowed: RowFilter | None
) -> float:
    """Share of the best ``k`` rows among the proposals, which must be allowed and distinct."""
    may = {i for i in rows if allowed is None or allowed.videos is None or i in allowed.videos}
    ids, scores = engine.search(query, k, allowed)
    assert len(ids) == len(scores) >= min(k, len(may)), f"{len(ids)} proposals"
    assert len(set(ids.tolist())) == len(ids), "a row is proposed twice"
    assert set(ids.tolist()) <= may, "a row is proposed that the filter leaves out"
    assert np.all(np.diff(scores) <= 1e-6), "scores rise"
    best = sorted(may, key=lambda i: -float(rows[i] @ query))[:k]
    return len(set(best) & set(ids.tolist())) / max(len(best), 1)


def _by_id(source: MemoryRows) -> dict[int, Float32]:
    return dict(zip(source.ids.tolist(), source.vectors.astype(np.float32), strict=True))


def _finds(cls: EngineClass) -> None:
    """The best rows are proposed, under filters and after its file is read again too."""
    source = MemoryRows(unit_rows(ROWS, 1))
    rows = _by_id(source)
    engine = cls.build(source, None)
    assert (engine.count(), engine.name, engine.last_id) == (ROWS, cls.name, source.ids[-1])
    assert engine.ids().tolist() == source.ids.tolist()
    engines: list[Engine] = [engine]
    with tempfile.TemporaryDirectory() as folder:
        if engine.write(Path(folder) / "x"):
            again = cls.read(Path(folder) / "x", engine.facts, engine.table())
            assert again is not None
            engines.append(again)
        for one in engines:
            _finds_under_filters(one, cls.exact, source, rows)


def _finds_under_filters(
    engine: Engine, exact: bool, source: MemoryRows, rows: dict[int, Float32]
) -> None:
    shares = [recall(engine, rows, query, 10, None) for query in unit_rows(50, 2)]
    assert np.mean(shares) >= (1 if exact else 0.97), f"recall {np.mean(shares):.2f}"
    for share in (0.95, 0.5, 0.05, 0.0):
        chosen = source.ids[np.random.default_rng(3).random(ROWS) < share]
        allowed = RowFilter(frozenset(chosen.tolist()))
        reached = recall(engine, rows, unit_rows(1, 4)[0], 10, allowed)
        assert engine.count(allowed) == len(chosen)
        assert engine.ids(allowed).tolist() == chosen.tolist()
        assert len(chosen) < 10 or reached >= 0.9, f"recall {reached:.2f} under a filter"


def _times(cls: EngineClass) -> None:
    """A filter on times leaves the rows inside."""
    engine = cls.build(MemoryRows(unit_rows(ROWS, 1)), None)
    allowed = RowFilter(start_s=(100.0, 200.0), end_s=(-np.inf, 150.0))
    expected = [i for i in range(1, 3 * ROWS, 3) if 100 <= i <= 150]
    ids, _ = engine.search(unit_rows(1, 2)[0], 1000, allowed)
    assert sorted(ids.tolist()) == engine.ids(allowed).tolist() == expected


def _changes(cls: EngineClass) -> None:
    """Rows that are added or deleted are so at once, and after merging; unknown ids are ignored."""
    source = MemoryRows(unit_rows(ROWS, 1))
    engine, rows = cls.build(source, None), _by_id(source)
    new = MemoryRows(unit_rows(30, 5), first_id=10_000)
    engine.add(new.table, new.vectors)
    gone = np.concatenate([source.ids[::7], new.ids[:3]])
    engine.delete(np.concatenate([gone, [77_777]]))
    engine.delete(gone)
    rows |= _by_id(new)
    for row_id in gone.tolist():
        del rows[row_id]
    remaining = MemoryRows(np.stack([rows[i] for i in sorted(rows)]))
    remaining.ids = np.array(sorted(rows))
    assert engine.last_id == new.ids[-1]
    merged = engine.merged(remaining, None)
    assert merged is not None
    assert merged.added == merged.deleted == 0
    for one in (engine, merged):
        assert one.count() == len(rows)
        assert one.ids().tolist() == sorted(rows)
        shares = [recall(one, rows, query, 10, None) for query in remaining.vectors[-60:]]
        assert np.mean(shares) >= (1 if cls.exact else 0.97), f"recall {np.mean(shares):.2f}"
        for row_id in new.ids[3:].tolist():
            assert one.search(rows[row_id], 1)[0][0] == row_id
        both = frozenset([int(source.ids[1]), int(new.ids[5]), int(gone[0])])
        ids, _ = one.search(unit_rows(1, 4)[0], 10, RowFilter(both))
        assert set(ids.tolist()) == both - {int(gone[0])}


def _empty(cls: EngineClass) -> None:
    """All rows may be deleted."""
    source = MemoryRows(unit_rows(50, 1))
    engine = cls.build(source, None)
    engine.delete(source.ids)
    assert engine.count() == 0
    assert len(engine.search(unit_rows(1, 2)[0], 5)[0]) == 0


def _reason(cls: EngineClass) -> None:
    """An engine states why it is chosen, and for how many rows."""
    assert cls.why
    if cls.rows is not None:
        least, most = cls.rows
        assert least >= 0
        assert most is None or most > least


def _library(cls: EngineClass) -> None:
    """A library answers as with exact search, through adds, updates, deletes, copies, filters."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = [tiny_video(root / "videos" / f"{i}.mp4", i, seconds=12) for i in range(8)]
        with (
            Library(root / "exact.vlar", PictureModel()) as exact,
            Library(root / "own.vlar", PictureModel()) as other_library,
        ):
            for library in (exact, other_library):
                library.add(clips[:6])
            other_library.compact(kind=cls.name)
            assert other_library.info().engine == cls.name
            _same_answers(exact, other_library, clips)
            query = PictureModel().encode_queries(["a cat"])[0]
            for mine, best in zip(
                other_library.nearest(query, 7), exact.nearest(query, 7), strict=True
            ):
                assert (mine.path, mine.start_s) == (best.path, best.start_s)
                assert abs(mine.similarity - best.similarity) <= 1e-6
            assert other_library.verify() == []


def _same_answers(exact: Library, own: Library, clips: list[Path]) -> None:
    queries = [("a cat", None), ("two dogs", ["start_s>=2"]), ("a cat", ["path=[0-3].mp4"])]

    def answers(library: Library) -> list[Any]:
        return [library.query(text, 50, where=rule, min_probability=0) for text, rule in queries]

    for number in range(4):
        assert answers(own) == answers(exact), f"after {number} changes"
        for library in (exact, own):
            if number == 0:
                library.remove(clips[1])
                library.add(clips[6:])
            elif number == 1:
                library.add(tiny_video(clips[2], 41, seconds=12))
            elif number == 2:
                connection_of(library).disconnect()
        if number == 2:
            own.compact()


STEPS = (_finds, _times, _changes, _empty, _reason, _library)
