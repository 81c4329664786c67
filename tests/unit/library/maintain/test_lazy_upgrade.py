"""A library changes its model at once: rows are mapped, stated as such, and encoded as needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import store_of, tiny_video
from tests.unit.library.maintain.test_upgrade import PartModel, as_if_new, vectors
from vlar import registry
from vlar.apps.cli import index, query
from vlar.errors import EncoderMismatchError, LibraryError, UsageError
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.maintain import lazy_upgrade
from vlar.library.maintain.mapping import Sample, completed, learned, procrustes, ridge
from vlar.library.manifest import VectorMapping
from vlar.library.query import answer
from vlar.library.records import packed, unpacked
from vlar.library.store.annotations import KeptFrames
from vlar.model.model import load
from vlar.types import Clip, Encoded, Sampling, Window

ROOT = Path(__file__).parents[4]
SAMPLE = (16, 16)
BASE = "two"  # of the later model: no block is shared


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of three windows, in a library of the earlier model."""
    folder = tmp_path_factory.mktemp("lazy")
    clips = [tiny_video(folder / "videos" / f"{i}.mp4", i) for i in range(8)]
    with Library(folder / "old.vlar", PartModel(0)) as library:
        library.add(clips, tags={"place": "gym"})
    return folder


@pytest.fixture
def old(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lazy_upgrade, "_SAMPLE", SAMPLE)
    shutil.copytree(made / "old.vlar", tmp_path / "l.vlar")
    return tmp_path / "l.vlar"


@pytest.fixture(params=["folder", pytest.param("milvus", marks=pytest.mark.slow)])
def either(request: pytest.FixtureRequest, old: Path, tmp_path: Path) -> Path | str:
    """The same in a folder, and in Milvus."""
    return old if request.param == "folder" else in_milvus(old, tmp_path)


def in_milvus(old: Path, tmp_path: Path) -> str:
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    address = f"milvus:{tmp_path / 'm.db'}/l"
    with Library(old, PartModel(0)) as library, Library(address) as copy:
        library.copy_to(copy)
    return address


def clips_of(path: Path | str) -> list[Path]:
    return [Path(row.path) for row in Library(path).videos()]


def origins(library: Library) -> list[str]:
    return [hit.origin for hit in library.query("anything", k=50, min_probability=0)]


def test_answers_at_once_and_states_what_is_mapped(either: Path | str, tmp_path: Path):
    later = PartModel(1, base=BASE)
    clips = clips_of(either)
    with Library(either, later) as library:
        report = library.upgrade(lazy=True)
        assert (report.mapped, report.rows) == (8, 0)
        assert "learned from 16 windows" in report.learned_from
        facts = library.info()
        assert (facts.rows, facts.mapped_rows, facts.model) == (24, 8, later.name)
        hits = library.query("anything", k=50, min_probability=0)
        assert {hit.origin for hit in hits} == {"mapped", "encoded"}
        assert all(hit.to_dict()["origin"] == hit.origin and hit.origin in str(hit) for hit in hits)
        assert hits.learned_from == (report.learned_from,)
        mapped = store_of(library).mapped()
        assert all((hit.row in mapped) == (hit.origin == "mapped") for hit in hits)
        expression = library.query('"anything" AND NOT "other"', k=50, min_probability=0)
        assert "mapped" in {hit.origin for hit in expression}
        assert library.upgrade(lazy=True).mapped == 8
        asked = [hit.row for hit in hits if hit.origin == "mapped"][:1]
        assert library.upgrade(lazy=True, rows=asked).rows == 1
        assert library.info().mapped_rows == 7
        assert library.upgrade(lazy=True, minutes=1e-9).mapped == 7
        assert library.verify() == []
        assert library.upgrade().mapped == 0
        assert set(origins(library)) == {""}
        assert all(row.tags == {"place": "gym"} for row in library.videos())
        assert store_of(library).meta()["vector_type"] == "float16"
    made_new = as_if_new(tmp_path, clips, later)
    assert vectors(either).keys() == made_new.keys()
    for key, row in vectors(either).items():
        np.testing.assert_allclose(row, made_new[key], atol=1e-3)


@pytest.mark.parametrize("phrase", ["anything", '"anything" AND "other"'])
@pytest.mark.parametrize("midway", [False, True])
def test_an_open_library_follows_a_change_by_another_process(
    old: Path, monkeypatch: pytest.MonkeyPatch, phrase: str, midway: bool
):
    models = {model.fingerprint: model for model in (PartModel(0), PartModel(1, base=BASE))}
    first, later = models.values()
    now = iter(models.values())  # both have one name
    monkeypatch.setattr("vlar.model.model.load", lambda *_, **__: SimpleNamespace(words=next(now)))
    encode = answer.encode_leaves

    def change() -> None:
        with Library(old, later) as other:
            other.upgrade(lazy=True)

    def encoded_before_a_change(*given: Any) -> Any:
        monkeypatch.setattr(answer, "encode_leaves", encode)
        vectors_of = encode(*given)
        change()
        return vectors_of

    with Library(old) as library, Library(old, first) as told:
        library.query(phrase)
        if midway:
            monkeypatch.setattr(answer, "encode_leaves", encoded_before_a_change)
        else:
            change()
        hits = library.query(phrase, k=50, min_probability=0)
        refused(EncoderMismatchError, "the model of this call is", told.query, phrase)
    with Library(old, later) as library:
        assert hits == library.query(phrase, k=50, min_probability=0)
        assert "mapped" in {hit.origin for hit in hits}


def test_blocks_that_are_shared_are_exact_and_a_dropped_block_needs_no_map(either: Path | str):
    before = vectors(either)
    with Library(either, PartModel(1)) as library:
        assert library.upgrade(lazy=True).mapped == 8
    width = next(iter(before.values())).shape[0]
    for key, row in vectors(either).items():
        np.testing.assert_allclose(row[:width] * np.sqrt(2), before[key], atol=2e-3)
    with Library(either, PartModel(1)) as library:
        library.upgrade()
    with Library(either, PartModel(0)) as library:
        report = library.upgrade(lazy=True)
        assert (report.mapped, report.learned_from, report.rows) == (0, "", 24)
        assert (report.kept, report.computed) == (("base",), ())
        assert set(origins(library)) == {""}
    for key, row in vectors(either).items():
        np.testing.assert_allclose(row, before[key], atol=2e-3)


def test_a_block_that_held_all_of_a_vector_is_copied_at_unit_length(tmp_path: Path):
    row = np.zeros((3, PartModel(1).dim), np.float32)
    row[:, 0] = 1  # its other block is empty, as of a sensor that a recording lacks
    with Library(tmp_path / "l.vlar", PartModel(1)) as library:
        windows = [Window(2.0 * i, 2.0 * i + 4) for i in range(3)]
        library.add_vectors([VectorVideo("/example/a.mp4", windows, row)])
    with Library(tmp_path / "l.vlar", PartModel(0)) as library:
        assert library.upgrade(lazy=True).mapped == 0
        assert library.verify(files=False) == []
        assert len(library.query("a", min_probability=0)) == 1


def test_uses_that_cannot_tell_are_refused_in_one_line(either: Path | str, tmp_path: Path):
    with Library(either, PartModel(1)) as library:
        library.upgrade(lazy=True)
        refused(UsageError, "8 of its rows are mapped", library.to_arrow)
        refused(UsageError, "8 of its rows are mapped", library.query, "anything", miss=0.1)
        refused(UsageError, "8 of its rows", library.copy_to, Library(tmp_path / "copy.vlar"))
        assert store_of(library).meta()["vector_type"] == "float16, some mapped"
    with Library(either, PartModel(2)) as library:
        refused(UsageError, "before its model changes again", library.upgrade, lazy=True)
        refused(EncoderMismatchError, "upgrade", library.query, "anything")
    with Library(tmp_path / "new.vlar", PartModel(0)) as library:
        refused(LibraryError, "does not exist", library.upgrade, lazy=True)


def test_the_command_line_encodes_answers_and_states_what_is_mapped(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    later = PartModel(1)
    monkeypatch.setattr(index, "_opened", lambda path, _=None: Library(path, later))
    assert index.upgrade(str(old), lazy=True) == 0
    assert "8 mapped; rows of parts are mapped by" in capsys.readouterr().err
    with Library(old, later) as library:
        hits = library.query("anything", k=50, min_probability=0)
    query._encode(str(old), later, hits)
    encoded = sum(hit.origin == "mapped" for hit in hits)
    assert f"{encoded} windows of these answers are encoded now" in capsys.readouterr().err
    assert index.info(str(old)) == 0
    assert f"{8 - encoded} rows" in capsys.readouterr().out
    assert index.upgrade(str(old), minutes=5.0) == 0
    assert "0 mapped" in capsys.readouterr().err


def test_a_copy_of_a_recording_stays_mapped_and_a_changed_one_is_encoded(
    either: Path | str, tmp_path: Path
):
    clips = clips_of(either)
    with Library(either, PartModel(1)) as library:
        library.upgrade(lazy=True)
        mapped = {
            hit.path
            for hit in library.query("a", k=50, min_probability=0)
            if hit.origin == "mapped"
        }
        copy = tmp_path / "copy.mp4"
        shutil.copy(next(iter(mapped)), copy)
        count = library.info().mapped_rows
        assert library.add(copy).copies == 1
        assert library.info().mapped_rows > count
        assert library.remove(copy) == 1
        assert library.info().mapped_rows == count
        assert library.add(clips).unchanged == 8


def test_a_file_that_is_gone_stays_mapped(either: Path | str, tmp_path: Path):
    moved = tmp_path / "away"
    with Library(either, PartModel(1)) as library:
        library.upgrade(lazy=True)
        gone = {row.path for row in library.videos()}
        videos = Path(next(iter(gone))).parent
        videos.rename(moved)
        try:
            report = library.upgrade()
        finally:
            moved.rename(videos)
        assert report.mapped == 8
        assert report.failed
        assert library.upgrade().mapped == 0


@pytest.mark.slow
def test_a_pair_of_transformers_states_what_its_encoded_rows_have(old: Path, tmp_path: Path):
    pytest.importorskip("transformers")
    from tests import tiny_models

    first, later = (
        load(f"hf:{tiny_models.save(name, tmp_path / name)}") for name in ("siglip", "groupvit")
    )
    clips = clips_of(old)
    with Library(tmp_path / "hf.vlar", first) as library:
        library.add(clips)
        windows = library.info().rows
    with Library(tmp_path / "hf.vlar", later) as library:
        mapped = library.upgrade(lazy=True).mapped
        assert 0 < mapped == windows - SAMPLE[0]
        stated = library.query("a person waves", k=50, min_probability=0)
        assert sum(hit.origin == "mapped" for hit in stated) <= mapped
        marks = store_of(library).mapped()
        assert all((hit.row in marks) == (hit.origin == "mapped") for hit in stated)
        assert library.upgrade().mapped == 0
        encoded = library.query("a person waves", k=50, min_probability=0)
    means = [np.mean([hit.probability for hit in hits]) for hits in (stated, encoded)]
    assert abs(means[0] - means[1]) < 0.05
    with Library(tmp_path / "new.vlar", later) as library:
        library.add(clips)
    new = vectors(tmp_path / "new.vlar")
    for key, row in vectors(tmp_path / "hf.vlar").items():
        np.testing.assert_allclose(row, new[key], atol=2e-3)


KILLED = """
import os, signal, sys
from tests.unit.library.maintain.test_upgrade import PartModel
from vlar.library.maintain import lazy_upgrade
from vlar.library.records import packed, unpacked
from vlar.library.library import Library
from vlar.library.store.writer import SqliteWriter

lazy_upgrade._SAMPLE = (16, 16)
point, count = sys.argv[2], [0]

def die(*_):
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)

def at(name):
    before = getattr(SqliteWriter, name)
    def called(*given, **more):
        die()
        return before(*given, **more)
    setattr(SqliteWriter, name, called)

if point == "change":
    at("replace_rows")
if point == "encode":
    at("delete_rows")
with Library(sys.argv[1], PartModel(1, base="two")) as library:
    library.upgrade(lazy=True, minutes=5, progress=die if point == "sample" else None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", ["sample", "change", "encode"])
def test_a_killed_run_leaves_a_whole_library(old: Path, tmp_path: Path, point: str):
    run = [sys.executable, "-c", KILLED, str(old), point]
    assert subprocess.run(run, cwd=ROOT).returncode == -signal.SIGKILL
    changed, later = point == "encode", PartModel(1, base=BASE)
    with Library(old, later if changed else PartModel(0)) as library:
        assert library.verify(files=False) == []
        assert set(origins(library)) == ({"mapped", "encoded"} if changed else {""})
        assert library.info().mapped_rows == (8 - 2 if changed else 0) or changed
    clips = clips_of(old)
    with Library(old, later) as library:
        if not changed:
            library.upgrade(lazy=True)
            taken = len(later.encoder.calls)
            assert taken < 16 if point == "sample" else taken == 0  # the stage was used
        assert library.upgrade().mapped == 0
    expected = as_if_new(tmp_path, clips, later)
    for key, row in vectors(old).items():
        np.testing.assert_allclose(row, expected[key], atol=1e-3)


def test_a_mapping_is_text_of_anybody():
    mapping = VectorMapping("lite", "ridge", 300, 0.5, 0.9, -0.4, ("objects",))
    assert VectorMapping.from_text(mapping.to_text()) == mapping
    for broken in (
        "",
        "{}",
        "[1]",
        "x",
        json.dumps({**json.loads(mapping.to_text()), "slope": -1}),
    ):
        assert VectorMapping.from_text(broken) is None
    order = mapping.scaled(np.linspace(0, 1, 9))
    assert (np.diff(order) > 0).all()
    assert replace(mapping, slope=1.0, offset=0.0).scaled(np.array([0.3])) == pytest.approx(0.3)


def test_maps_find_a_linear_relation_and_not_random_numbers():
    draw = np.random.default_rng(0)
    old = draw.normal(size=(200, 12)).astype(np.float32)
    turn = np.linalg.qr(draw.normal(size=(12, 12)))[0]
    new = (old @ turn).astype(np.float64)
    for solve in (ridge, procrustes):
        mean, coefficients = solve(old, new)
        np.testing.assert_allclose((old - mean) @ coefficients + new.mean(axis=0), new, atol=1e-2)
    unrelated = draw.normal(size=(200, 12))
    mean, coefficients = ridge(old, unrelated)
    left = unrelated - unrelated.mean(axis=0) - (old - mean) @ coefficients
    assert (left**2).mean() > 0.8


def test_what_no_text_reads_takes_the_length_that_predictions_lack():
    shared = np.array([True, False, False])
    rows = completed(
        np.array([[9, 0.2, 9]], np.float32), np.array([[0.6, 0, 0]], np.float32), shared, 2
    )
    np.testing.assert_allclose(rows, [[0.6, 0.2, np.sqrt(1 - 0.36 - 0.04)]], atol=1e-6)
    rows = completed(
        np.array([[9, 0.2, 0.1]], np.float32), np.array([[0.6, 0, 0]], np.float32), shared, None
    )
    np.testing.assert_allclose(np.linalg.norm(rows), 1, atol=1e-6)


def test_the_better_form_is_taken():
    model = PartModel(0)
    draw = np.random.default_rng(0)
    new = np.abs(draw.normal(size=(64, model.dim))).astype(np.float32)
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    sample = Sample(new[:, ::-1].copy(), new, np.arange(64), np.zeros(model.dim, bool), None)
    linear, mapping = learned(sample, model, ["a", "b", "c"], "before", ())
    assert mapping.same_first == 1.0
    np.testing.assert_allclose(linear(sample.old), new, atol=0.05)


def test_kept_frames_answer_for_files_that_are_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "vlar")
    videos = [tiny_video(tmp_path / "videos" / f"{i}.mp4", i) for i in range(3)]
    path = tmp_path / "l.vlar"
    with Library(path, PartModel(0)) as library:
        library.add(videos[:2], keep="frames")
        assert "8 kB a window" in caplog.text
        library.add(videos[2])
        kept = store_of(library).annotations(KeptFrames)
        assert len(kept) == 6
        assert max(len(row.picture) for row in kept) < 20_000
        copy = shutil.copy(videos[0], tmp_path / "copy.mp4")
        assert library.add(copy).copies == 1
        assert len(store_of(library).annotations(KeptFrames)) == 9
        library.remove(copy)
        assert len(store_of(library).annotations(KeptFrames)) == 6
        assert library.verify() == []
        refused(UsageError, "frames", library.add, videos, keep="all")
        refused(UsageError, "Parquet", library.add, videos, keep="frames", shards=tmp_path / "s")
    shutil.rmtree(tmp_path / "videos")
    with Library(path, PartModel(1)) as library:
        report = library.upgrade()
        assert (report.videos, report.rows, report.from_frames) == (2, 6, 6)
        assert [failure.path for failure in report.failed] == [videos[2]]
        assert library.query("anything", k=3, min_probability=0)
        rows = library.to_arrow().to_pylist()
    extra = {row["path"]: np.array(row["vector"][-4:]) for row in rows}
    assert all(
        np.linalg.norm(row) == pytest.approx(np.sqrt(0.5), abs=0.01) for row in extra.values()
    )


def test_a_record_is_small_frames_and_a_picture_of_anybody_is_none():
    data = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, 64, axis=1)
    data = np.repeat(np.repeat(data, 90, axis=2), 3, axis=3)
    clip = Clip(Path("a.mp4"), Window(4.0, 8.0), "video", data, np.arange(8) / 2)
    frames = KeptFrames(4.0, 8.0, packed(clip))
    sampling = Sampling(8)
    again = unpacked(frames, replace(clip, data=data[:0]), sampling)
    assert again is not None
    assert again.data.shape == data.shape
    assert np.abs(again.data.mean(axis=(1, 2, 3)) - [30, 30, 90, 90, 150, 150, 210, 210]).max() < 5
    assert again.times_s.tolist() == [4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7.25, 7.75]
    large = Clip(
        clip.path, clip.window, "video", np.zeros((2, 900, 1600, 3), np.uint8), np.arange(2)
    )
    assert len(packed(large)) < 20_000
    assert packed(replace(clip, modality="imu", data=data[:, 0, 0])) == b""
    for broken in (b"", b"RIFF", frames.picture[:40], bytes(2 << 20)):
        assert unpacked(frames._replace(picture=broken), clip, sampling) is None


class Mortal(PartModel):
    """Ends its own process at its first clip ever."""

    def __init__(self, mark: Path) -> None:
        super().__init__(1, base=BASE)
        self.mark = mark

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(clips)


def load_mortal(mark: Path, device: str | None) -> Mortal:
    """What worker processes load."""
    return Mortal(mark)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_runner_encodes_each_row_once_although_a_worker_is_killed(
    either: Path | str, tmp_path: Path, name: str
):
    if find_spec(name) is None and name == "ray":  # an import would read its settings too early
        pytest.skip("ray is not installed")
    later, clips, mark = PartModel(1, base=BASE), clips_of(either), tmp_path / "mark"
    argument = "cpu:1" if name == "processes" else "?workers=1"
    runner = registry.get("runner", name).from_spec(argument)
    runner.load = partial(load_mortal, mark)
    with Library(either, later) as library:
        refused(UsageError, "--lazy first", library.upgrade, runner=runner)
        assert library.upgrade(lazy=True).mapped == 8
        taken = len(later.encoder.calls)
        report = library.upgrade(runner=runner)
        assert (report.rows, report.mapped, report.failed) == (8, 0, ())
        assert mark.exists()
        assert len(later.encoder.calls) == taken  # all of it by workers
        assert library.info().rows == 24
        assert library.verify() == []
    expected = as_if_new(tmp_path, clips, later)
    for key, row in vectors(either).items():
        np.testing.assert_allclose(row, expected[key], atol=1e-3)


def test_a_backup_of_the_earlier_model_that_is_restored_in_place_answers_as_before(old: Path):
    with Library(old, PartModel(0)) as library:
        before = library.query("anything", 50, min_probability=0)
    whole = (old / "library.sqlite").read_bytes()
    with Library(old, PartModel(1, base=BASE)) as library:
        library.upgrade(lazy=True)
        assert len(library.query("anything", 50, min_probability=0)) == len(before)
    for log in old.glob("library.sqlite-*"):
        log.unlink()
    (old / "library.sqlite").write_bytes(whole)  # the search cache of the later model stays
    with Library(old, PartModel(0)) as library:
        assert library.query("anything", 50, min_probability=0) == before
        assert library.verify(files=False) == []
