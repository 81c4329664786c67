"""A library: added to, searched, renamed, with recordings of any sensor."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import vlar
from tests.contract.test_second_sensor import registered, wave  # noqa: F401 - a fixture
from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, stored, tiny_video
from vlar.encoders.model_spec import ModelSpec
from vlar.errors import EncoderMismatchError, LibraryError, TagConflictError, UsageError
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.rows import AddEvent
from vlar.types import Window


@pytest.fixture
def library(tmp_path: Path, model: FakeModel, clips: list[Path]) -> Library:
    opened = Library(tmp_path / "l.vlar", model)
    report = opened.add(clips)
    assert (report.added, report.rows, report.failed) == (5, 15, ())
    return opened


def paths(library: Library) -> list[str]:
    return [Path(row.path).name for row in library.videos()]


def test_windows_and_facts(library: Library, clips: list[Path]):
    row = library.videos()[0]
    assert row.path == clips[0].as_posix()
    assert (row.windows, row.duration_s, row.unreadable_windows) == (3, 8.0, 0)
    info = library.info()
    assert (info.videos, info.rows, info.duration_s) == (5, 15, 40.0)
    assert (info.model, info.window_s, info.stride_s, info.n_frames) == ("fake", 4.0, 2.0, 2)
    assert info.engine == "flat"
    assert "exact" in info.engine_why
    assert info.bytes_on_disk >= (library.path / "library.sqlite").stat().st_size


def test_adding_again_encodes_nothing(library: Library, model: FakeModel, clips: list[Path]):
    before = model.encoded
    report = library.add(clips)
    assert (report.unchanged, report.added, report.rows) == (5, 0, 0)
    clips[0].touch()  # a new time, the same content
    assert library.add(clips).unchanged == 5
    assert model.encoded == before


def test_one_file_named_twice_is_one_video(tmp_path: Path, model: FakeModel, clips: list[Path]):
    other_name = clips[0].parent / ".." / clips[0].parent.name / clips[0].name
    with Library(tmp_path / "n.vlar", model) as library:
        assert library.add([clips[0], other_name]).added == 1
        assert [(row.path, row.windows) for row in library.videos()] == [(str(clips[0]), 3)]


def test_changed_content_is_indexed_in_place(library: Library, clips: list[Path]):
    library.add(clips[1], tags={"place": "gym"})
    tiny_video(clips[1], content=77, seconds=12)
    report = library.add(clips)
    assert (report.updated, report.unchanged, report.rows) == (1, 4, 5)
    row = next(row for row in library.videos() if row.path == str(clips[1]))
    assert (row.windows, row.duration_s, dict(row.tags)) == (5, 12.0, {"place": "gym"})


def test_renamed_video_costs_no_decoding(library: Library, model: FakeModel, clips: list[Path]):
    library.add(clips[0], tags={"place": "gym"})
    before = model.encoded
    moved = clips[0].rename(clips[0].with_name("new name.mp4"))
    events: list[AddEvent] = []
    report = library.add(clips[0].parent, progress=events.append)
    assert (report.moved, report.copies, report.unchanged, report.rows) == (1, 0, 4, 0)
    assert [e.other for e in events if e.status == "moved"] == [str(clips[0])]
    assert model.encoded == before
    row = next(row for row in library.videos() if row.path == str(moved))
    assert (row.windows, dict(row.tags)) == (3, {"place": "gym"})
    assert len(library.videos()) == 5


def test_copy_shares_vectors_but_not_tags(library: Library, model: FakeModel, clips: list[Path]):
    library.add(clips[0], tags={"place": "gym"})
    before = model.encoded
    copy = Path(shutil.copy(clips[0], clips[0].with_name("copy.mp4")))
    events: list[AddEvent] = []
    report = library.add(copy, tags={"day": "2"}, progress=events.append)
    assert (report.moved, report.copies, report.rows) == (1, 1, 3)
    assert events[-1].to_dict()["status"] == "copied"
    assert events[-1].to_dict()["other"] == str(clips[0])
    assert model.encoded == before
    rows = {Path(row.path).name: row for row in library.videos()}
    assert (rows["copy.mp4"].windows, dict(rows["copy.mp4"].tags)) == (3, {"day": "2"})
    assert dict(rows["0.mp4"].tags) == {"place": "gym"}


def test_two_videos_that_swap_names(library: Library, clips: list[Path]):
    before = vectors(library)
    a, b = clips[0], clips[1]
    a.rename(a.with_name("x"))
    b.rename(a)
    a.with_name("x").rename(b)
    library.add(clips)
    after = vectors(library)
    assert after[str(a)] == before[str(b)]
    assert after[str(b)] == before[str(a)]


def vectors(library: Library) -> dict[str, list[bytes]]:
    result: dict[str, list[bytes]] = {}
    for path, _, _, vector in stored(library):
        result.setdefault(path, []).append(vector)
    return result


def test_content_that_left_its_path_in_the_same_call(library: Library, clips: list[Path]):
    # a.mp4 gets new content while its old content appears elsewhere: neither may be lost.
    old = vectors(library)[str(clips[0])]
    kept = clips[0].rename(clips[0].with_name("z.mp4"))
    tiny_video(clips[0], content=99)
    report = library.add(clips[0].parent)
    assert not report.failed
    now = vectors(library)
    assert now[str(kept)] == old
    assert now[str(clips[0])] != old
    assert len(library.videos()) == 6


def test_tags_are_set_and_removed_together_or_not_at_all(library: Library):
    first, second = (row.path for row in library.videos()[:2])
    assert library.tag({first: {"place": "gym", "year": "2024"}, second: {"place": "hall"}}) == 2
    assert library.tag({first: {"place": None}}, before={first: {"place": "gym"}}) == 1
    held = {row.path: dict(row.tags) for row in library.videos()}
    assert (held[first], held[second]) == ({"year": "2024"}, {"place": "hall"})
    with pytest.raises(TagConflictError, match="not None; read it again"):
        library.tag({first: {"a": "b"}, second: {"place": "x"}}, before={second: {"place": None}})
    for tags in ({"gone.mp4": {"a": "b"}}, {first: {"path": "x"}}, {first: {"a": "\ud800"}}):
        with pytest.raises((LibraryError, UsageError)):
            library.tag({second: {"a": "b"}, **tags})
    assert {row.path: dict(row.tags) for row in library.videos()} == held


def test_a_hit_names_the_middle_of_its_best_window(library: Library):
    for hit in library.query("anything", 5, min_probability=0):
        at_s = {
            (start_s + end_s) / 2 for path, start_s, end_s, _ in stored(library) if path == hit.path
        }
        assert hit.best_s in at_s
        assert hit.start_s <= hit.best_s <= hit.end_s


def test_tags_are_merged(library: Library, clips: list[Path]):
    library.add(clips[0], tags={"place": "gym", "day": "1"})
    library.add(clips[0], tags={"day": "2"})
    assert dict(library.videos()[0].tags) == {"place": "gym", "day": "2"}


@pytest.mark.parametrize("tags", [{"": "x"}, {" ": "x"}, {"path": "x"}])
def test_tag_keys_that_cannot_be(tmp_path: Path, model: FakeModel, tags: dict[str, str]):
    refused(UsageError, "", Library(tmp_path / "l.vlar", model).add, [], tags=tags)


def test_remove(library: Library, clips: list[Path], monkeypatch: pytest.MonkeyPatch):
    clips[2].unlink()  # a file that is gone can still be taken out
    assert library.remove(clips[2]) == 1
    assert library.remove([str(clips[2].parent / "[01].mp4")]) == 2
    assert paths(library) == ["3.mp4", "4.mp4"]
    monkeypatch.chdir(clips[0].parent.parent)
    assert library.remove("nothing*") == 0
    assert library.remove("videos") == 2
    assert library.info().rows == 0
    assert clips[3].exists()


def test_len_and_a_closed_library(tmp_path: Path, model: FakeModel, clips: list[Path]):
    library = Library(tmp_path / "n.vlar", model)
    assert (len(library), bool(library)) == (0, True)
    library.add(clips)
    assert len(library) == len(clips)
    library.close()
    for call in (library.info, library.videos, library.all_rows, partial(len, library)):
        refused(LibraryError, "is closed; open it again: vlar.Library", call)
    refused(LibraryError, "is closed", library.query, "a cat")
    refused(LibraryError, "is closed", library.add, clips)
    refused(LibraryError, "is closed", library.remove, clips[0])


def test_bad_videos_are_named_and_the_others_done(
    tmp_path: Path, model: FakeModel, clips: list[Path]
):
    (tmp_path / "videos" / "2.mp4").write_text("no video")
    (tmp_path / "videos" / "3.mp4").write_bytes(b"")
    events: list[AddEvent] = []
    with Library(tmp_path / "l.vlar", model) as library:
        report = library.add([*clips, tmp_path / "absent.mp4"], progress=events.append)
        assert report.added == 3
        names = [failure.path.name for failure in report.failed]
        assert names == ["2.mp4", "3.mp4", "absent.mp4"]
        assert all(str(failure.path) in failure.message for failure in report.failed)
        assert paths(library) == ["0.mp4", "1.mp4", "4.mp4"]
    assert [e.status for e in events] == [
        "start",
        "added",
        "added",
        *["failed"] * 2,
        "added",
        "failed",
    ]
    assert sum(event.advance for event in events) == 6


def test_same_broken_content_twice(tmp_path: Path, model: FakeModel, clips: list[Path]):
    for clip in clips[:2]:
        clip.write_bytes(b"garbage" * 500)
    with Library(tmp_path / "l.vlar", model) as library:
        report = library.add(clips)
    assert (report.added, len(report.failed)) == (3, 2)


def test_a_broken_new_version_keeps_the_old_rows(library: Library, clips: list[Path]):
    before = vectors(library)
    clips[1].write_bytes(clips[1].read_bytes()[:200])
    assert len(library.add(clips).failed) == 1
    assert vectors(library) == before


def test_interrupt_keeps_what_is_finished_and_the_next_run_goes_on(
    tmp_path: Path, model: FakeModel, clips: list[Path]
):
    def stop(event: AddEvent) -> None:
        if event.done == 3:
            raise KeyboardInterrupt

    events: list[AddEvent] = []
    with Library(tmp_path / "l.vlar", model) as library:
        refused(KeyboardInterrupt, "", library.add, clips, progress=stop)
        assert paths(library) == ["0.mp4", "1.mp4", "2.mp4"]
        encoded = model.encoded
        report = library.add(clips, progress=events.append)
        assert (report.added, report.unchanged) == (2, 3)
        assert model.encoded <= encoded + 6
    assert (events[0].status, events[0].done, events[0].total) == ("start", 3, 5)


def test_interrupt_inside_a_video_leaves_none_of_it(tmp_path: Path, clips: list[Path]):
    class Stopping(FakeModel):
        def encode(self, clips):
            if self.encoded >= 20:
                raise KeyboardInterrupt
            return super().encode(clips)

    long = tiny_video(tmp_path / "videos" / "9 long.mp4", 9, seconds=80)  # 39 windows, 5 batches
    with Library(tmp_path / "l.vlar", Stopping()) as library:
        refused(KeyboardInterrupt, "", library.add, [*clips, long])
        assert len(paths(library)) == 5
        assert library.info().rows == 15


def test_a_model_that_gives_nonsense_fails_the_video(tmp_path: Path, clips: list[Path]):
    class Broken(FakeModel):
        def encode(self, clips):
            nothing = np.full(self.dim, np.nan, np.float32)
            return [replace(one, vector=nothing) for one in super().encode(clips)]

    with Library(tmp_path / "l.vlar", Broken()) as library:
        report = library.add(clips[:1])
        assert report.failed[0].kind == "model"
        assert library.videos() == []


def test_other_windows_are_refused(library: Library, clips: list[Path]):
    refused(LibraryError, r"--window 4s --stride 2s", library.add, clips, window_s=8.0)
    assert library.add(clips, window_s=4.0, stride_s=2.0).unchanged == 5


@pytest.mark.parametrize(
    "span", [{"window_s": 0.0}, {"stride_s": -1.0}, {"window_s": float("nan")}]
)
def test_windows_that_cannot_be(tmp_path: Path, model: FakeModel, span: dict[str, float]):
    refused(UsageError, "", Library(tmp_path / "l.vlar", model).add, [], **span)


def test_another_model_is_refused(library: Library, clips: list[Path]):
    other = FakeModel("other", seed=1)
    with Library(library.path, other) as opened:
        for use in (
            lambda: opened.query("a cat", min_probability=0),
            lambda: opened.add(tiny_video(clips[0], 50)),
        ):
            caught = refused(EncoderMismatchError, "", use)
            assert "'fake'" in caught.value.message
            assert "'other'" in caught.value.message
            assert "--model fake" in caught.value.message
    assert len(library.videos()) == 5


def test_a_model_of_another_class_has_the_defaults(tmp_path: Path):
    class Texts:
        name, fingerprint, dim, n_frames = "made", "made-1", 4, 8

        def encode_queries(self, texts: list[str]) -> np.ndarray:
            return np.eye(4, dtype=np.float32)[: len(texts)]

        def match_probability(self, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
            return 1 / (1 + np.exp(-20 * (vectors @ query)))

    rows = VectorVideo("/example/a.mp4", [Window(0.0, 4.0)], np.eye(4, dtype=np.float32)[:1])
    model = Texts()
    with Library(tmp_path / "made.vlar", model) as library:  # type: ignore[arg-type]
        library.add_vectors([rows])
        assert [hit.path for hit in library.query("a cat", 1)] == ["/example/a.mp4"]
    assert type(model) is Texts


def whole(words: FakeModel) -> SimpleNamespace:
    """What ``load`` gives: a model, whose words a library takes."""
    return SimpleNamespace(words=words)


def test_another_model_is_refused_although_nothing_is_to_be_encoded(
    library: Library, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    import vlar.model.model

    models = {"fake": FakeModel(), "other": FakeModel("other", seed=1), "alias": FakeModel()}
    loaded: list[str] = []
    load = lambda spec, **_: loaded.append(str(spec)) or whole(models[str(spec)])  # noqa: E731
    monkeypatch.setattr(vlar.model.model, "load", load)
    with Library(library.path, "other") as opened:
        refused(EncoderMismatchError, "--model fake", opened.add, clips)
    for name in ("fake", "alias"):
        with Library(library.path, name) as opened:
            assert opened.add(clips).unchanged == 5
    assert loaded == ["other", "alias"]  # the library's own name needs no model


def test_listing_and_removing_load_no_model(
    library: Library, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    import vlar.model.model

    def refuse(spec: object) -> None:
        raise AssertionError(f"model {spec} was loaded")

    monkeypatch.setattr(vlar.model.model, "load", refuse)
    with Library(library.path) as opened:
        assert len(opened.videos()) == 5
        assert opened.info().model == "fake"
        assert opened.add(clips).unchanged == 5
        assert opened.remove(clips[0]) == 1


def test_the_model_of_the_manifest_is_loaded_for_a_query(
    library: Library, monkeypatch: pytest.MonkeyPatch
):
    import vlar.model.model

    asked: list[object] = []
    load = lambda spec, **_: asked.append(spec) or whole(FakeModel())  # noqa: E731
    monkeypatch.setattr(vlar.model.model, "load", load)
    with Library(library.path) as opened:
        assert len(opened.query("a cat", 2, min_probability=0)) == 2
    assert asked == ["fake"]


def test_reports_are_plain_json(library: Library, clips: list[Path]):
    import json

    events: list[AddEvent] = []
    report = library.add(clips, progress=events.append)
    for row in (
        library.videos()[0],
        library.info(),
        report,
        *events,
        *library.query("a cat", min_probability=0),
    ):
        assert json.loads(json.dumps(row.to_dict()))


@pytest.mark.usefixtures("registered")
def test_a_library_of_signals(tmp_path: Path):
    folder = tmp_path / "signals"
    for name, beats in (("slow", (2.5,)), ("fast", (9.5,)), ("both", (2.0, 9.0))):
        made = [np.load(wave(folder / "a.npy", beat, seconds=8)) for beat in beats]
        np.save(folder / f"{name}.npy", np.concatenate(made))
    (folder / "a.npy").unlink()
    (folder / "broken.npy").write_bytes(b"no signal")
    tiny_video(folder / "video.mp4", 1)  # another sensor's: not found
    path = tmp_path / "l.vlar"
    with Library(path, vlar.load("sine")) as library:
        report = library.add(folder)
        assert (report.added, [f.path.name for f in report.failed]) == (3, ["broken.npy"])
        assert library.info().modality == "sine"
        assert library.add(folder).unchanged == 3
        hits = library.query("fast", 10, min_probability=0.9)
        assert {Path(hit.path).stem for hit in hits} == {"fast", "both"}
        both = next(hit for hit in hits if Path(hit.path).stem == "both")
        assert both.start_s >= 6.0
        hits = library.query('"slow" THEN "fast"', 1, min_probability=0)
        assert Path(hits[0].path).stem == "both"
        hits = library.query(f'LIKE "{folder / "slow.npy"}"@2s-6s', 1, min_probability=0)
        assert Path(hits[0].path).stem in {"slow", "both"}
        assert library.verify(files=False) == []
    with Library(path, vlar.load("sine")) as library:  # the manifest names the reader
        wave(folder / "slow.npy", 9.5, seconds=8, phase=1)
        assert library.add(folder).updated == 1
        hits = library.query("slow", 10, min_probability=0.9)
        assert {Path(hit.path).stem for hit in hits} == {"both"}


def test_an_add_parses_the_name_of_its_model_once(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    parsed: list[str] = []
    parse = ModelSpec.parse.__func__  # pyright: ignore[reportFunctionMemberAccess]

    def counted(cls: type[ModelSpec], text: str, **options: bool) -> ModelSpec:
        parsed.append(text)
        return parse(cls, text, **options)

    monkeypatch.setattr(ModelSpec, "parse", classmethod(counted))
    with Library(tmp_path / "l.vlar", "lite") as library:
        library.add(clips[:2])
    assert parsed == ["lite"]
    with Library(tmp_path / "l.vlar") as library:
        library.add(clips[:2])  # unchanged: no model is needed
        assert parsed == ["lite"]
        library.add(clips)
    assert parsed == ["lite"] * 2
