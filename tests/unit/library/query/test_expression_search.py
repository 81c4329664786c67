"""Queries with operators on a library: completeness, scopes, thresholds, parts, boundaries."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from tests.unit.library.fakes import ConditionedFake, FakeModel, tiny_video
from vlar.errors import DecodeError, LibraryError, QueryError, UsageError
from vlar.library.library import Library
from vlar.library.query.candidates import ScoredSpan, refined
from vlar.library.query.grammar import Like
from vlar.library.query.plan import QueryReport
from vlar.library.query.similarity import encode_leaves
from vlar.media.video.decode import read_clip
from vlar.media.video.frames import thumbnail


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("compose")
    opened = Library(root / "l.vlar", FakeModel())
    for number in range(8):
        folder = "cooking" if number < 3 else "sport"
        clip = tiny_video(root / "videos" / folder / f"{number}.mp4", number, 20)
        opened.add(clip, tags={"number": str(number)})
    return opened


def rows(library: Library, text: str) -> dict[tuple[str, float, float], float]:
    """Cosine of every window, from the tables."""
    store = library._connection.reader()
    assert store is not None
    query = FakeModel().encode_queries([text])[0].astype(np.float64)
    found = store.fetch(
        "SELECT path, start_s, end_s, vector FROM rows JOIN videos v ON v.id = video_id"
    )
    return {
        (p, s, e): float(np.frombuffer(v, "<f2").astype(np.float64) @ query) for p, s, e, v in found
    }


def standing(
    cosines: dict[tuple[str, float, float], float],
) -> dict[tuple[str, float, float], float]:
    values = np.array(list(cosines.values()))
    z = (values - values.mean()) / values.std()
    return dict(zip(cosines, 1 / (1 + np.exp(1.5 - z)), strict=True))


def test_the_best_window_of_all_is_first(library: Library):
    a, b = standing(rows(library, "a cat")), standing(rows(library, "two dogs"))
    best = max(a, key=lambda row: a[row] * (1 - b[row]))
    hit = library.query('"a cat" AND NOT "two dogs"', 1, min_probability=0)[0]
    assert hit.path == best[0]
    assert hit.score == pytest.approx(a[best] * (1 - b[best]), abs=1e-5)
    assert [(part.phrase, part.start_s) for part in hit.parts] == [
        ("a cat", best[1]), ("two dogs", best[1]),
    ]  # fmt: skip
    assert hit.parts[0].similarity == pytest.approx(rows(library, "a cat")[best], abs=1e-5)
    weakest = min(hit.parts[0].probability, 1 - hit.parts[1].probability)
    assert hit.probability == pytest.approx(weakest)


def test_a_longer_answer_begins_with_the_shorter_one(library: Library):
    for text in ("a cat AND two dogs", "a cat THEN two dogs WITHIN 6s", "NOT a cat"):
        whole = library.query(text, 1000, min_probability=0)
        assert [hit.rank for hit in whole] == list(range(1, len(whole) + 1))
        assert [h.score for h in whole] == sorted((h.score for h in whole), reverse=True)
        assert library.query(text, 3, min_probability=0) == whole[:3]


def test_sequences_are_in_order_and_near(library: Library):
    for hit in library.query("a cat THEN two dogs WITHIN 3s", 1000, min_probability=0):
        first = next(part for part in hit.parts if part.phrase == "a cat")
        second = next(part for part in hit.parts if part.phrase == "two dogs")
        assert first.start_s < second.start_s
        assert -2.0 <= second.start_s - first.end_s <= 3.0


def test_scopes_and_filters(library: Library):
    inside = library.query('"a cat" IN "cooking/*"', 1000, min_probability=0)
    assert {Path(hit.path).parent.name for hit in inside} == {"cooking"}
    assert len({hit.path for hit in inside}) == 3
    one = library.query(
        '("a cat" OR "x") IN cooking/*', 100, where={"number": "1"}, min_probability=0
    )
    assert {hit.tags["number"] for hit in one} == {"1"}
    part = library.query(
        '("a cat" IN "cooking/*") OR ("a cat" IN "7.mp4")', 1000, min_probability=0
    )
    assert {Path(hit.path).stem for hit in part} == {"0", "1", "2", "7"}
    assert library.query('"a cat" IN "nowhere/*"', min_probability=0) == []
    refused(QueryError, "number", library.query, "a AND b", where={"nmber": "1"}, min_probability=0)


def test_like_finds_its_own_clip(library: Library):
    path = library.query("a cat", 1, min_probability=0)[0].path
    hit = library.query(f'LIKE "{path}"@4s-8s', 1, min_probability=0)[0]
    assert hit.path == path
    assert hit.start_s <= 6.0 <= hit.end_s
    assert hit.parts[0].similarity == pytest.approx(1.0, abs=1e-3)
    refused(DecodeError, "", library.query, "LIKE nowhere.mp4", min_probability=0)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp"])
def test_like_finds_where_a_picture_is_from(library: Library, tmp_path: Path, ending: str):
    path = library.query("a cat", 1, min_probability=0)[0].path
    picture = tmp_path / f"photo of it.{ending}"
    thumbnail(path, 5.5).save(picture)
    hit = library.query(f'LIKE "{picture}"', 1, min_probability=0)[0]
    assert hit.path == path
    assert hit.start_s <= 6.0 <= hit.end_s


def test_a_photo_is_turned_as_its_camera_was_held(tmp_path: Path):
    upright = np.zeros((64, 32, 3), np.uint8)
    upright[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(upright).save(tmp_path / "upright.jpg", quality=95)
    model = FakeModel()
    names = [Like(str(tmp_path / f"{name}.jpg")) for name in ("turned", "upright")]
    turned, same = encode_leaves(names, model).values()
    assert turned @ same == pytest.approx(1.0, abs=1e-3)
    assert read_clip(tmp_path / "turned.jpg", n_frames=1).data.shape == (1, 64, 32, 3)


def test_pictures_that_cannot_be_read_are_one_line(library: Library, tmp_path: Path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("cut.png", "text.jpg", "pipe.jpg", "gone.webp"):
        refused(DecodeError, name, library.query, f'LIKE "{tmp_path / name}"')
    model = FakeModel()
    model.modality = "skeleton"
    refused(QueryError, "skeleton", encode_leaves, [Like("photo.jpg")], model)


def test_threshold_and_report(library: Library):
    reports: list[QueryReport] = []
    assert library.query("a AND b", min_probability=0.999, report=reports.append) == []
    assert library.query("a", min_probability=0.9999, report=reports.append) == []
    composed, plain = reports
    assert 0 < (composed.best_probability or 0) < 0.999
    assert (composed.searched, plain.searched) == ("windows", "index")
    assert composed.windows == plain.windows == len(rows(library, "a"))
    assert [phrase.text for phrase in composed.phrases] == ["a", "b"]
    text = "\n".join(composed.lines())
    assert 'query    "a" AND "b"' in text
    assert "99.9%" in text
    least = library.query("a AND b", 1000, min_probability=0.4)
    assert least
    assert min(hit.probability for hit in least) >= 0.4
    refused(QueryError, "min_probability", library.query, "a", min_probability=2.0)


def test_text_that_depends_on_the_video_is_looked_at_again(tmp_path: Path):
    for number in range(6):
        tiny_video(tmp_path / "videos" / f"{number}.mp4", number, seconds=4)
    with Library(tmp_path / "l.vlar", ConditionedFake()) as conditioned:
        conditioned.add(tmp_path / "videos")
        reports: list[QueryReport] = []
        hits = conditioned.query('"a cat" IN "*"', 10, report=reports.append, min_probability=0)
    with Library(tmp_path / "plain.vlar", FakeModel()) as plain:
        plain.add(tmp_path / "videos")
        order = [hit.path for hit in plain.query('"a cat" IN "*"', 10, min_probability=0)]
    # Conditioned text is the mirror image of the unconditioned one.
    assert [hit.path for hit in hits] == order[::-1]
    assert (reports[0].reranker, reports[0].reranked) == ("conditioned-text", 6)
    assert all(hit.parts[0].probability == pytest.approx(hit.probability) for hit in hits)


def test_windows_at_two_scales(tmp_path: Path):
    clip = tiny_video(tmp_path / "a.mp4", 1, 20)
    short = tiny_video(tmp_path / "b.mp4", 2, 3)
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add([clip, short], long_times=2)
        lengths = sorted(e - s for _, s, e in rows(library, "a"))
        assert lengths == [3.0] + [4.0] * 9 + [8.0] * 4
        assert library.add([clip], long_times=2).unchanged == 1
        refused(LibraryError, "--long-windows 2", library.add, [clip], long_times=3)
        refused(UsageError, "long_times", library.add, [clip], long_times=0.5)
        for text in ("a cat", "a cat AND b"):
            assert library.query(text, 100, min_probability=0)


def window(start_s: float, value: float) -> ScoredSpan:
    return ScoredSpan(0, 0, start_s, start_s + 4, value, value)


def test_a_boundary_lies_where_half_is_crossed():
    best, before, after = window(4, 0.8), [window(2, 0.6), window(0, 0.2)], [window(6, 0.0)]
    span = ScoredSpan(0, 0, 2.0, 8.0, 0.8, 0.8)
    found = refined(span, best, best, before, after)
    # 0.4 is crossed half way from the middle at 4 s to the middle at 2 s, and from 6 s to 8 s.
    assert (found.start_s, found.end_s) == (pytest.approx(3.0), pytest.approx(7.0))
    assert refined(span, best, best, [], []) == span
    assert refined(span, best, best, [window(-9, 0.0)], [window(20, 0.0)]) == span
