"""Libraries that lack parts or come from an earlier version are brought up to date."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import DIM, ConditionedFake, FakeModel, store_of, tiny_video
from vlar.encoders.base import Block
from vlar.encoders.session import Session
from vlar.errors import EncoderMismatchError, LibraryError, LibraryLockedError, UsageError
from vlar.library import manifest
from vlar.library.library import Library
from vlar.library.maintain.lazy_upgrade import upgrade_library
from vlar.library.maintain.upgrade import STAGE, UpgradeProgress, UpgradeRequest
from vlar.library.rows import UpgradeReport
from vlar.library.store.trust import writer_lock
from vlar.types import Clip

WIDTH = 4


@dataclass
class Towers:
    """What an upgrade asks of an encoder; ``extra`` is how many blocks stand beside the first."""

    model: PartModel
    extra: int
    version: str = "1"
    base: str = "one"
    calls: list[int] = field(default_factory=list)

    @property
    def blocks(self) -> tuple[Block, ...]:
        weight = 1 / np.sqrt(1 + self.extra)
        names = [f"extra{i}" for i in range(self.extra)]
        return (
            Block("base", DIM, weight, True),
            *(Block(name, WIDTH, weight, True) for name in names),
        )

    def block_fingerprints(self) -> dict[str, str]:
        return {
            block.name: self.base if block.name == "base" else self.version for block in self.blocks
        }

    def session(self, *, features: bool = True) -> Session:
        return Session(self.model.encode, self.encode_blocks)

    def encode_blocks(self, clips: list[Clip], names: list[str]):
        self.calls += [len(clip.data) for clip in clips]
        rows = np.stack([self.model.whole(clip) for clip in clips])
        if "base" not in names:
            rows[:, :DIM] = 0  # what was not asked for may be left out
        return rows


class PartModel(FakeModel):
    """A fake whose vectors have blocks."""

    def __init__(self, extra: int, version: str = "1", base: str = "one") -> None:
        super().__init__("parts")
        self.fingerprint = f"parts {extra} {version} {base}"
        self.encoder = Towers(self, extra, version, base)
        self.dim = DIM + WIDTH * extra

    def whole(self, clip: object) -> np.ndarray:
        towers = self.encoder
        weight = 1 / np.sqrt(1 + towers.extra)
        tone = float(clip.data.mean()) / 255  # type: ignore[attr-defined]
        parts = [weight * super()._vector(clip)]  # type: ignore[arg-type]
        for number in range(towers.extra):
            block = np.cos(np.arange(WIDTH) * (1 + number + tone) + len(towers.version))
            parts.append(weight * block / np.linalg.norm(block))
        return np.concatenate(parts).astype(np.float32)

    def _vector(self, clip: Clip) -> np.ndarray:
        return self.whole(clip)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.pad(super().encode_queries(texts), ((0, 0), (0, self.dim - DIM)))


def upgrade(
    path: Path | str, model: PartModel | None = None, progress: UpgradeProgress | None = None
) -> UpgradeReport:
    return upgrade_library(Path(path), model, UpgradeRequest(progress=progress))  # type: ignore[arg-type]


def vectors(path: Path | str) -> dict[tuple[str, float], np.ndarray]:
    with Library(path) as library:
        store = store_of(library)
        names, ids = store.paths(), [store.ids_of(people=people) for people in (False, True)]
        batch = store.rows(np.concatenate(ids).tolist(), int(store.meta()["dim"]))
    keys = [(names[int(v)], span[0]) for v, span in zip(batch.video_ids, batch.spans, strict=True)]
    return dict(zip(keys, batch.vectors, strict=True))


@pytest.fixture
def old(tmp_path: Path, clips: list[Path]) -> Path:
    path = tmp_path / "old.vlar"
    with Library(path, PartModel(0)) as library:
        library.add(clips, tags={"place": "gym"})
    return path


def as_if_new(tmp_path: Path, clips: list[Path], model: PartModel) -> dict:
    with Library(tmp_path / "new.vlar", model) as library:
        library.add(clips)
    return vectors(tmp_path / "new.vlar")


@pytest.mark.parametrize("extra", [1, 2])
def test_it_is_what_a_new_library_would_be(
    tmp_path: Path, old: Path, clips: list[Path], extra: int
):
    model = PartModel(extra)
    steps: list[tuple[int, int]] = []
    report = upgrade(old, model, lambda done, total: steps.append((done, total)))
    assert (report.videos, report.rows, report.failed) == (5, 15, ())
    assert report.kept == ("base",)
    assert report.computed == tuple(f"extra{i}" for i in range(extra))
    assert model.encoded == 0
    assert steps == [(i, 5) for i in range(1, 6)]
    found, expected = vectors(old), as_if_new(tmp_path, clips, model)
    assert found.keys() == expected.keys()
    for key, row in found.items():
        np.testing.assert_allclose(row, expected[key], atol=1e-3)
    with Library(old, model) as library:
        assert all(row.tags == {"place": "gym"} for row in library.videos())
        assert len(library.query("anything", k=3, min_probability=0)) == 3
        assert library.add(clips).unchanged == 5
        assert library.verify() == []
    assert not (old / STAGE).exists()


def test_what_is_known_of_a_video_stays(tmp_path: Path, clips: list[Path]):
    path = tmp_path / "long.vlar"
    with Library(path, PartModel(0)) as library:
        library.add(clips[:2], long_times=1.5)
        before = library.videos()
    upgrade(path, PartModel(1))
    with Library(path, PartModel(1)) as library:
        assert library.videos() == before
        assert library.verify() == []
        assert library.add(clips[:2], long_times=1.5).unchanged == 2


def test_a_stage_left_behind_is_no_fault_and_goes(old: Path):
    model = PartModel(1)
    upgrade(old, model)
    (old / STAGE).mkdir()
    (old / STAGE / "library.sqlite").write_bytes(b"cut")
    with Library(old, model) as library:
        assert library.verify() == []
        assert library.query("anything", k=1, min_probability=0)
    assert upgrade(old, model).rows == 0
    assert not (old / STAGE).exists()


def test_the_refusal_names_the_command(old: Path):
    with (
        Library(old, PartModel(1)) as library,
        pytest.raises(
            EncoderMismatchError, match=r"extra0 is computed again.*index upgrade .*old\.vlar"
        ),
    ):
        library.query("anything", min_probability=0)


def test_a_block_of_another_version_is_computed_again(tmp_path: Path, old: Path, clips: list[Path]):
    upgrade(old, PartModel(1))
    report = upgrade(old, PartModel(1, "22"))
    assert (report.kept, report.computed) == (("base",), ("extra0",))
    expected = as_if_new(tmp_path, clips, PartModel(1, "22"))
    for key, row in vectors(old).items():
        np.testing.assert_allclose(row, expected[key], atol=1e-3)
    again = PartModel(1, "22")
    assert upgrade(old, again).rows == 0
    assert not again.encoder.calls


def test_where_nothing_is_as_before_everything_is_read(
    tmp_path: Path, old: Path, clips: list[Path]
):
    model = PartModel(1, "longer", base="two")
    with (
        Library(old, model) as library,
        pytest.raises(EncoderMismatchError, match="every video is read"),
    ):
        library.query("anything", min_probability=0)
    report = upgrade(old, model)
    assert (report.kept, report.computed) == ((), ("base", "extra0"))
    assert (report.videos, report.failed) == (len(clips), ())
    fresh, found = as_if_new(tmp_path, clips, model), vectors(old)
    assert fresh.keys() == found.keys()
    for key, vector in fresh.items():
        np.testing.assert_allclose(found[key], vector, atol=1e-6)
    with Library(old, model) as library:
        assert len(library.query("anything", k=1, where={"place": "gym"}, min_probability=0)) == 1


def test_where_only_texts_changed_no_video_is_read(old: Path, clips: list[Path]):
    model = PartModel(0)
    model.fingerprint = "parts 0 with another table of verbs"
    before = vectors(old)
    clips[0].unlink()
    with (
        Library(old, model) as library,
        pytest.raises(EncoderMismatchError, match="how texts are read"),
    ):
        library.query("anything", min_probability=0)
    report = upgrade(old, model)
    assert (report.computed, report.rows, report.failed) == ((), 15, ())
    assert not model.encoder.calls
    for key, row in vectors(old).items():
        np.testing.assert_allclose(row, before[key], atol=1e-3)
    with Library(old, model) as library:
        assert library.query("anything", k=1, min_probability=0)


def test_an_interrupted_run_goes_on_and_readers_see_the_old_state(
    tmp_path: Path, old: Path, clips: list[Path]
):
    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Killed

    before, model = vectors(old), PartModel(1)
    refused(Killed, "", upgrade, old, model, stop)
    assert len(model.encoder.calls) == 9
    for key, row in vectors(old).items():
        np.testing.assert_array_equal(row, before[key])
    with Library(old, PartModel(0)) as library:
        assert library.query("anything", k=1, min_probability=0)
        assert library.verify() == []
    going_on = PartModel(1)
    assert upgrade(old, going_on).rows == 15
    assert len(going_on.encoder.calls) == 6
    expected = as_if_new(tmp_path, clips, going_on)
    for key, row in vectors(old).items():
        np.testing.assert_allclose(row, expected[key], atol=1e-3)


KILLED = """
import os, signal, sys
from tests.unit.library.maintain.test_upgrade import PartModel, upgrade

def stop(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(sys.argv[1], PartModel(1), stop)
"""


def test_a_killed_run_leaves_a_whole_library(tmp_path: Path, old: Path, clips: list[Path]):
    root = Path(__file__).parents[4]
    code = subprocess.run([sys.executable, "-c", KILLED, str(old)], cwd=root).returncode
    assert code == -signal.SIGKILL
    assert (old / STAGE).exists()
    with Library(old, PartModel(0)) as library:
        assert library.verify() == []
        assert library.query("anything", k=1, min_probability=0)
    model = PartModel(1)
    assert upgrade(old, model).rows == 15
    assert len(model.encoder.calls) == 6
    with Library(old, model) as library:
        assert library.verify() == []


def test_a_damaged_stage_is_made_anew(old: Path):
    (old / STAGE).mkdir()
    (old / STAGE / "library.sqlite").write_bytes(b"no database" * 100)
    assert upgrade(old, PartModel(1)).rows == 15


def test_another_goal_starts_anew(old: Path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    refused(KeyboardInterrupt, "", upgrade, old, PartModel(1), stop)
    other = PartModel(1, "22")
    assert upgrade(old, other).rows == 15
    assert len(other.encoder.calls) == 15


def test_a_missing_and_a_changed_video_keep_their_rows_until_they_are_back(
    tmp_path: Path, old: Path, clips: list[Path]
):
    before, away = vectors(old), tmp_path / "away.mp4"
    clips[0].rename(away)
    tiny_video(clips[1], content=77)
    report = upgrade(old, PartModel(1))
    assert (report.videos, report.rows) == (3, 9)
    assert [failure.path for failure in report.failed] == clips[:2]
    assert "kept" in report.failed[0].message
    assert "changed" in report.failed[1].message
    found = vectors(old)
    assert found.keys() == before.keys()
    for (path, start_s), row in found.items():
        np.testing.assert_allclose(np.linalg.norm(row), 1, atol=1e-3)
        kept = row[:DIM] * np.sqrt(2)
        np.testing.assert_allclose(kept, before[path, start_s], atol=2e-3)
    with Library(old, PartModel(1)) as library:
        named = {problem.path: problem for problem in library.verify()}
    assert {Path(path): problem.kind for path, problem in named.items()} == {
        clips[0]: "missing",
        clips[1]: "changed",
    }
    assert "read again" in named[str(clips[1])].message
    away.rename(clips[0])
    with Library(old, PartModel(1)) as library:
        report_of_add = library.add(clips)
        assert library.verify() == []
    assert (report_of_add.updated, report_of_add.unchanged) == (2, 3)
    expected = as_if_new(tmp_path, clips, PartModel(1))
    for key, row in vectors(old).items():
        np.testing.assert_allclose(row, expected[key], atol=1e-3)


def test_nothing_readable_leaves_the_library_alone(old: Path, clips: list[Path]):
    before = vectors(old)
    for clip in clips:
        clip.unlink()
    refused(LibraryError, "none of its 5 videos", upgrade, old, PartModel(1))
    assert vectors(old).keys() == before.keys()
    with Library(old, PartModel(0)) as library:
        assert library.query("anything", k=1, min_probability=0)


def test_what_has_nothing_in_common_is_refused(tmp_path: Path, old: Path, clips: list[Path]):
    refused(UsageError, "cannot be brought up to date", upgrade, old, FakeModel("other"))
    upgrade(old, PartModel(2))
    refused(UsageError, "parts that the model lacks", upgrade, old, PartModel(1))
    unknown = tmp_path / "unknown.vlar"
    with Library(unknown, FakeModel()) as library:
        library.add(clips[:1])
    refused(UsageError, "of unknown parts", upgrade, unknown, PartModel(1))


def test_no_library_and_one_in_use_are_refused(tmp_path: Path, old: Path):
    refused(LibraryError, "does not exist", upgrade, tmp_path / "none.vlar", PartModel(1))
    with writer_lock(old), pytest.raises(LibraryLockedError):
        upgrade(old, PartModel(1))


def test_parts_survive_the_manifest_and_old_ones_say_nothing():
    parts = manifest.declared(PartModel(2))
    assert manifest.from_text(manifest.to_text(parts)) == parts
    assert [part.place for part in parts] == [slice(0, 24), slice(24, 28), slice(28, 32)]
    assert manifest.from_text("") == manifest.from_text("[[1]]") == manifest.from_text("{") == ()
    assert manifest.declared(FakeModel()) == ()


FIXTURES = Path(__file__).parents[3] / "fixtures"

ANSWERS = json.loads((FIXTURES / "libraries_format_2.json").read_text("utf-8"))
# Since words bind to things or movements, and figures are fitted on sentences, ``lite`` answers
# otherwise than the version that made the libraries.
LITE = json.loads((FIXTURES / "libraries_format_2_lite.json").read_text("utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(FIXTURES / "libraries_format_2.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.fixture(params=["fake", "conditioned", "lite"])
def opened(
    request: pytest.FixtureRequest,
    folder: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The library of each model; ``lite`` as it is where ``lite-motion`` was never fetched."""
    model = {"fake": FakeModel(), "conditioned": ConditionedFake(), "lite": None}[request.param]
    if model is None:
        from vlar.encoders.base import load_encoder

        load_encoder("lite")  # fills the cache of the session, whose weights the other one links
        without_motion = tmp_path / "cache"
        without_motion.mkdir()
        for entry in cache.iterdir():
            if not entry.name.startswith("lite-motion"):
                (without_motion / entry.name).symlink_to(entry)
        monkeypatch.setenv("VLAR_CACHE", str(without_motion))
    with Library(folder / f"{request.param}.vlar", model) as library:
        yield request.param, library


def test_it_opens_and_tells_its_sensor(opened: tuple[str, Library]):
    name, library = opened
    facts, before = library.info(), ANSWERS[name]["info"]
    assert facts.modality == "video"
    assert (facts.format, facts.persons, facts.person_rows) == (3, None, 0)
    for key in ("videos", "rows", "fingerprint", "dim", "context_rows", "window_s", "stride_s"):
        assert getattr(facts, key) == before[key], key
    assert (facts.engine, facts.cache_state) == ("flat", "absent")  # in the user's cache folder
    for row, old in zip(library.videos(), ANSWERS[name]["videos"], strict=True):
        assert (Path(row.path).name, row.windows, dict(row.tags)) == (
            old["path"], old["windows"], old["tags"],
        )  # fmt: skip


def test_it_answers_as_before(opened: tuple[str, Library]):
    name, library = opened
    answers = LITE if name == "lite" else ANSWERS[name]
    for label, asked in answers["answers"].items():
        hits = library.query(
            asked["text"], asked.get("k", 10), where=asked.get("where"), min_probability=0
        )
        expected = asked["hits"]
        # Now a span with a filter on times lies within it.
        times = name == "lite" or label != "filter"
        assert len(hits) == len(expected), label
        for hit, old in zip(hits, expected, strict=True):
            assert Path(hit.path).name == old["path"], label
            assert hit.similarity == pytest.approx(old["similarity"], abs=2e-6)
            near = 2e-5 if name == "lite" else 2e-6  # its network rounds otherwise elsewhere
            if name == "lite":  # since then a probability is of the moment alone; the order is kept
                assert hit.score == pytest.approx(old["score"], abs=near)
            else:
                assert hit.probability == pytest.approx(old["probability"], abs=near)
            assert [Path(copy.path).name for copy in hit.also] == old.get("also", [])
            if times:
                assert hit.start_s == pytest.approx(old["start_s"], abs=1e-3)
                assert hit.end_s == pytest.approx(old["end_s"], abs=1e-3)
            if "parts" in old:
                assert hit.score == pytest.approx(old["score"], abs=2e-6)


def test_rows_have_the_scores_of_before_and_the_most_probable_one_is_first(
    opened: tuple[str, Library],
):
    name, library = opened
    rows = (LITE if name == "lite" else ANSWERS[name])["rows of a cat"]
    hits = library.query("a cat", 1000, rerank=None, min_probability=0)
    stated = [hit.score if name == "lite" else hit.probability for hit in hits]
    scores = [(Path(h.path).name, h.similarity, p) for h, p in zip(hits, stated, strict=True)]
    close = 2e-5 if name == "lite" else 2e-6
    for path, similarity, probability in scores:
        near = [r for r in rows if abs(r[3] - similarity) < 2e-6]
        near = [r for r in near if abs(r[4] - probability) < close]
        assert path in {row[0] for row in near}
    assert stated[0] == pytest.approx(max(row[4] for row in rows), abs=close)
    assert stated == sorted(stated, reverse=True)


def test_it_grows_and_verifies_clean(opened: tuple[str, Library], folder: Path):
    _, library = opened
    report = library.add(folder / "videos")  # the files are found again by their content
    assert (report.moved, report.added, report.failed) == (5, 0, ())
    new = tiny_video(folder / "videos" / "new.mp4", 99)
    report = library.add(folder / "videos", tags={"place": "home"})
    assert (report.added, report.unchanged, report.failed) == (1, 5, ())
    hits = library.query("a cat", 100, min_probability=0)
    assert str(new) in {hit.path for hit in hits}
    assert library.verify() == []
    assert library.compact().rows == library.info().rows
    assert library.verify() == []
    assert library.info().modality == "video"
