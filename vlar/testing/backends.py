"""The contract of a place of libraries, as a check; rows are random vectors."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import EncoderMismatchError, LibraryError, LibraryLockedError, UsageError
from vlar.library.backends import Backend
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.ingest.writer import write_windows
from vlar.library.library import Library
from vlar.library.recording import CHANGED, FileRecord
from vlar.library.rows import RowFilter, RowPerson
from vlar.library.store.annotations import FailedFile, LostFrames
from vlar.library.store.base import failed_by_path
from vlar.library.store.values import Stamp
from vlar.testing.contract import refused, registered, run
from vlar.testing.material import WIDTH, PictureModel, connection_of, tiny_video
from vlar.types import Failure, Float32, Window

Address = Callable[[Path], str]


def check_backend(part: Any, *, address: Address | None = None) -> None:
    """Try a place of libraries: adds, changes, failures, locks, people and neighbours.

    Args:
        part: The place: a class, or a registered name.
        address: Gives the address of a new library in an empty folder; default
            ``Backend.example`` of the class. Libraries next to it end with another name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.library.backends.Backend``.
        PackageError: a library that it needs is not installed.
    """
    names = registry.names("backend")
    name = (
        part
        if isinstance(part, str)
        else next(
            (one for one in names if registry.get("backend", one) is part), part.__name__.lower()
        )
    )
    cls: type[Backend[Any, Any]] = registry.get("backend", part) if isinstance(part, str) else part
    with registered("backend", name, cls):
        run("backend", name, STEPS, address or cls.example)


@contextmanager
def _places(address: Address) -> Generator[tuple[str, Path]]:
    """Address of a new library, and the folder that it is in."""
    with tempfile.TemporaryDirectory() as folder:
        yield address(Path(folder)), Path(folder)


def vectors(n: int, seed: int = 0) -> Float32:
    """(n, D) random vectors of unit length."""
    rows = np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def video(path: str, n: int, seed: int = 0, **more: Any) -> VectorVideo:
    """A recording of n windows with random vectors."""
    spans = [Window(2.0 * number, 2.0 * number + 4.0) for number in range(n)]
    return VectorVideo(path, spans, vectors(n, seed), **more)


def whole(path: str, n: int) -> Iterator[FileRecord | EncodedWindow]:
    """Rows that an ``add`` writes of a recording of n windows."""
    yield FileRecord(Path(path), CHANGED, path, Stamp(1, 1), f"hash {path}", 2.0 * n + 2)
    for number, vector in enumerate(vectors(n, len(path))):
        yield EncodedWindow(Window(2.0 * number, 2.0 * number + 4.0), vector)


def _names(library: Library) -> list[str]:
    return [Path(row.path).name for row in library.videos()]


def _store(library: Library) -> Any:
    return connection_of(library).nonempty()[0]


def _changes(address: Address) -> None:
    """Recordings are added, changed, tagged, moved, copied and removed, and stay when reopened."""
    model = PictureModel()
    with _places(address) as (location, folder):
        clips = [tiny_video(folder / "videos" / f"{i}.mp4", i) for i in range(3)]
        with Library(location, model) as library:
            _add_and_change(library, model, clips)
            _move_and_remove(library, model, clips)
        with Library(location, model, create=False) as again:
            assert _names(again) == ["1.mp4", "2.mp4", "moved.mp4"]
            assert again.verify() == []
            assert len(again.nearest(vectors(1)[0], 100)) == 11


def _add_and_change(library: Library, model: PictureModel, clips: list[Path]) -> None:
    assert library.add(clips, tags={"place": "gym"}).added == 3
    assert library.add(clips, tags={"year": "1"}).unchanged == 3
    assert dict(library.videos()[0].tags) == {"place": "gym", "year": "1"}
    encoded = model.encoded
    tiny_video(clips[1], 77, seconds=12)
    report = library.add(clips)
    assert (report.updated, report.unchanged, report.rows) == (1, 2, 5)
    assert model.encoded == encoded + 5, "more than the changed recording is encoded"
    assert dict(library.videos()[1].tags) == {"place": "gym", "year": "1"}
    path = library.videos()[1].path
    assert library.tag({path: {"place": None, "year": "2"}}, before={path: {"year": "1"}}) == 1
    assert dict(library.videos()[1].tags) == {"year": "2"}


def _move_and_remove(library: Library, model: PictureModel, clips: list[Path]) -> None:
    encoded = model.encoded
    clips[0].rename(clips[0].with_name("moved.mp4"))
    shutil.copy(clips[2], clips[2].with_name("twin.mp4"))
    folder = clips[0].parent
    report = library.add(folder)
    assert (report.moved, report.added) == (2, 0)
    assert model.encoded == encoded, "what moved was encoded again"
    assert _names(library) == ["1.mp4", "2.mp4", "moved.mp4", "twin.mp4"]
    assert [row.windows for row in library.videos()] == [5, 3, 3, 3]
    assert library.remove(f"{folder.parent}/*/twin.mp4") == 1
    assert library.remove(f"{folder.parent}/*/twin.mp4") == 0
    assert library.info().rows == 11


def _refusals(address: Address) -> None:
    """Another model, other windows and a library that is not there are refused."""
    with _places(address) as (location, folder):
        clip = tiny_video(folder / "a.mp4", 0)
        with Library(location, PictureModel()) as library:
            library.add(clip)
            refused(LibraryError, "windows of 4 s every 2 s", library.add, clip, window_s=3.0)
        with Library(location, PictureModel("another", 1)) as library:
            refused(EncoderMismatchError, "made by model 'fake'", library.query, "a")
        other = location.replace("/l", "/other")
        refused(
            LibraryError, "does not exist; create it: vlar index add", Library, other, create=False
        )


def _empty(address: Address) -> None:
    """An empty library has no recordings and no answers."""
    with _places(address) as (location, _), Library(location, PictureModel()) as library:
        assert library.videos() == []
        assert library.info().rows == 0
        assert library.verify() == []
        refused(LibraryError, "is empty; add videos", library.query, "a")


def _failure(address: Address) -> None:
    """A recording that fails in the middle leaves nothing, and the others stay."""

    def stream() -> Iterator[Any]:
        yield from whole("/far/a.mp4", 70)
        yield from whole("/far/b.mp4", 130)
        yield from whole("/far/c.mp4", 90)
        yield EncodedWindow(Window(900.0, 904.0), np.full(WIDTH, np.nan, np.float32))
        yield FileRecord(Path("/far/d.mp4"), CHANGED, "/far/d.mp4", Stamp(1, 1), "hash d", 9.0)
        yield Failure(Path("/far/d.mp4"), "decode", "/far/d.mp4: unreadable")

    with _places(address) as (location, _), Library(location, PictureModel()) as library:
        with connection_of(library).writing() as writer:
            manifest = connection_of(library).models.new_manifest()
            report = write_windows(writer, stream(), manifest, total=4)
        assert [Path(f.path).name for f in report.failed] == ["c.mp4", "d.mp4"]
        assert (report.added, _names(library)) == (2, ["a.mp4", "b.mp4"])
        assert len(library.nearest(vectors(1)[0], 1000)) == 200
        assert library.verify(files=False) == []


def _vectors(address: Address) -> None:
    """Stored vectors are added and updated, and those of another length are refused."""
    with _places(address) as (location, _), Library(location, PictureModel()) as library:
        library.add_vectors(video(f"/v/{number}", 60, number) for number in range(12))
        wrong = replace(video("/v/x", 3), vectors=2 * vectors(3))
        refused(UsageError, "unit length", library.add_vectors, [wrong])
        report = library.add_vectors([video("/v/1", 2, 5), video("/v/new", 1)])
        assert (report.updated, report.added) == (1, 1)
        info = library.info()
        assert (info.videos, info.rows) == (13, 11 * 60 + 3)
        assert len(library.nearest(vectors(1)[0], 5000)) == 11 * 60 + 3


def _lock(address: Address) -> None:
    """A second writer is refused while reading goes on, and may write afterwards."""
    with (
        _places(address) as (location, _),
        Library(location, PictureModel()) as library,
        Library(location, PictureModel()) as other,
    ):
        library.add_vectors([video("/v/a", 3)])
        message = "another process is writing to library"
        with connection_of(library).writing():
            refused(LibraryLockedError, message, other.add_vectors, [video("/v/b", 3)])
            assert other.info().videos == 1
        assert other.add_vectors([video("/v/b", 3)]).added == 1
        assert library.info().videos == 2


def _annotations(address: Address) -> None:
    """Lost frames, failed files, context tokens and people are stored with their rows."""
    box = (0.25, 0.0, 0.5, 1.0)
    spans = [Window(0.0, 4.0), Window(0.0, 4.0), Window(2.0, 6.0)]
    people = [None, RowPerson(1, box), RowPerson(1, box)]
    tokens = vectors(3, 4).astype(np.float16)[:, None]
    with _places(address) as (location, _), Library(location, PictureModel()) as library:
        library.add_vectors([video("/v/a", 4)])
        with connection_of(library).writing() as writer:
            with writer.transaction():
                video_id = writer.put_video("/v/p", "hash", Stamp(5, 7), 6.0)
                writer.insert_rows(video_id, spans, vectors(3, 9), people, list(tokens))
                writer.annotate(LostFrames, video_id, [LostFrames(2.0, 6.0, 0.5)])
                failed = FailedFile("/v/bad", "h", Stamp(1, 2), "crash", "it crashed")
                writer.annotate(FailedFile, "/v/bad", [failed])
            with writer.transaction():
                writer.update(video_id, path="/v/renamed", stamp=Stamp(5, 8))
            assert failed_by_path(writer)["/v/bad"].message == "it crashed"
            with writer.transaction():
                writer.annotate(FailedFile, "/v/bad", ())
                writer.set_meta({"persons": "pose"})
            assert writer.annotations(FailedFile) == []
        info = library.info()
        assert (info.rows, info.persons, info.person_rows) == (7, "pose", 2)
        _rows_of_people(library, spans, people, tokens)
        assert library.verify(files=False) == []


def _rows_of_people(library: Library, spans: list[Window], people: list[Any], tokens: Any) -> None:
    store, manifest = connection_of(library).nonempty()
    with store.snapshot():
        renamed = store.at_path("/v/renamed").id
        rule = RowFilter(frozenset([renamed]))
        (rows,) = [r for r in store.scan(WIDTH, rule) if len(r.ids)]
        ids = rows.ids.tolist()
        assert [rows.people.get(i) for i in ids] == people
        assert rows.times_s.tolist() == [[s.start_s, s.end_s] for s in spans]
        assert store.spans(renamed) == [(0.0, 4.0)]
        assert store.ids_of(people=True).tolist() == ids[1:]
        row_ids, contexts = store.contexts(ids)
        assert row_ids.tolist() == ids
        assert np.array_equal(contexts, tokens)
        later = store.neighbours(renamed, 0.0, 4.0, WIDTH, later=True, track=1)
        assert [batch.ids.tolist() for batch in later] == [[ids[2]]]
        engine = connection_of(library).backend.search_cache(store, None, None).engine
        for with_people, number in ((True, 2), (False, 5)):
            allowed = RowFilter(rows=frozenset(store.ids_of(people=with_people).tolist()))
            assert engine.count(allowed) == len(engine.search(vectors(1)[0], 9, allowed)[0])
            assert engine.count(allowed) == number
        few = RowFilter(rows=frozenset(ids[:2]))
        assert sorted(engine.search(vectors(1)[0], 9, few)[0].tolist()) == ids[:2]
        assert store.annotations(LostFrames, [renamed]) == [LostFrames(2.0, 6.0, 0.5)]
        assert store.annotations(LostFrames, [store.at_path("/v/a").id]) == []
        assert store.annotated(LostFrames) == {renamed}
    assert manifest.dim == WIDTH


def _neighbours(address: Address) -> None:
    """Neighbours of a span come nearest first, which THEN walks along."""
    with _places(address) as (location, _), Library(location, PictureModel()) as library:
        library.add_vectors([video("/v/a", 120), video("/v/b", 5)])
        store = _store(library)
        with store.snapshot():
            video_id = store.at_path("/v/a").id
            for later, expected in ((True, range(11, 120)), (False, range(9, -1, -1))):
                batches = store.neighbours(video_id, 20.0, 24.0, WIDTH, later=later)
                starts = [span[0] for batch in batches for span in batch.spans]
                assert starts == [2.0 * number for number in expected]


STEPS = (_changes, _refusals, _empty, _failure, _vectors, _lock, _annotations, _neighbours)
