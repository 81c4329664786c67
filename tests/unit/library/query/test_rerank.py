"""Re-ranking by conditioned text: the rule, mixed libraries, ties, a real TC-CLIP."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.library.fakes import ConditionedFake, FakeModel, tiny_video
from tests.unit.methods import golden
from vlar.library.library import Library
from vlar.library.query.candidates import ScoredSpan, SpanScore
from vlar.library.query.search import _reordered

N_VIDEOS = 72  # of one window each: rows are spans


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Every third video without contexts."""
    root = tmp_path_factory.mktemp("rerank")
    opened = Library(root / "l.vlar", ConditionedFake())
    for number in range(N_VIDEOS):
        clip = tiny_video(root / "videos" / f"{number:02}.mp4", number, seconds=4)
        tags = {"half": "left" if number % 2 else "right"}
        opened.add(clip, tags=tags, keep_context=number % 3 != 0)
    return opened


def reference(library: Library, text: str, k: int, half: str | None = None) -> list[tuple]:
    """(path, score, probability) of the first k rows, from the tables and the documented rule."""
    store = library._connection.reader()
    assert store is not None
    model = ConditionedFake()
    (query,) = model.encode_queries([text])
    rows = []
    for path, vector, tokens in store.fetch(
        "SELECT path, vector, tokens FROM rows JOIN videos v ON v.id = rows.video_id "
        "LEFT JOIN contexts ON row_id = rows.id JOIN tags t ON t.video_id = v.id AND key = 'half' "
        "WHERE ? IS NULL OR value = ?",
        (half, half),
    ):
        v = np.frombuffer(vector, "<f2").astype(np.float64)
        context = None if tokens is None else np.frombuffer(tokens, "<f2").reshape(1, 2, -1)
        rows.append((float(v @ query), path, v, context))
    rows.sort(key=lambda row: -row[0])
    head = rows[: max(50, 5 * k)]
    answers = []
    for _, path, v, context in rows:
        own = query
        if context is not None and any(path == row[1] for row in head):
            own = model.conditioned_queries([text], context)[0, 0]
        probability = model.match_probability(v[None].astype(np.float32), own)[0]
        answers.append((path, float(v @ own), probability, own is not query))
    waiting = sorted((row for row in answers if row[3]), key=lambda row: -row[1])
    ordered = [waiting.pop(0) if row[3] else row for row in answers]
    return [row[:3] for row in ordered[:k]]


@pytest.mark.parametrize("text", ["a cat", "two dogs"])
@pytest.mark.parametrize(
    ("k", "half"), [(1, None), (10, None), (13, None), (80, None), (9, "left")]
)
def test_equals_the_rule(library: Library, text: str, k: int, half: str | None):
    hits = library.query(text, k, where={"half": half} if half else None, min_probability=0)
    expected = reference(library, text, k, half)
    assert [hit.path for hit in hits] == [path for path, _, _ in expected]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    for hit, (_, score, probability) in zip(hits, expected, strict=True):
        assert hit.similarity == pytest.approx(score, abs=1e-6)
        assert hit.score == hit.probability == pytest.approx(probability, abs=1e-6)


def test_conditioned_text_reverses_two_windows(tmp_path: Path):
    clips = [tiny_video(tmp_path / f"{i}.mp4", i, seconds=4) for i in range(2)]
    with Library(tmp_path / "with.vlar", ConditionedFake()) as conditioned:
        conditioned.add(clips)
        reversed_order = conditioned.query("a cat", min_probability=0)
    with Library(tmp_path / "without.vlar", ConditionedFake()) as library:
        library.add(clips, keep_context=False)
        order = library.query("a cat", min_probability=0)
    assert [hit.path for hit in reversed_order] == [hit.path for hit in order][::-1]
    assert [hit.similarity for hit in reversed_order] == pytest.approx(
        [-hit.similarity for hit in order][::-1], abs=1e-3
    )


def test_without_contexts_the_answer_is_the_plain_one(tmp_path: Path):
    clips = [tiny_video(tmp_path / f"{i}.mp4", i, seconds=20) for i in range(8)]
    with Library(tmp_path / "l.vlar", ConditionedFake()) as library:
        library.add(clips, keep_context=False)
        answers = library.query("a cat", 20, min_probability=0)
    with Library(tmp_path / "plain.vlar", FakeModel()) as library:
        library.add(clips)
        assert library.query("a cat", 20, min_probability=0) == answers


def test_spans_reach_as_far_as_without_contexts(tmp_path: Path):
    # One video, one span: which window is best changes, how far the span may reach is decided by
    # probabilities of one kind.
    clip = tiny_video(tmp_path / "a.mp4", 3, seconds=12)
    with Library(tmp_path / "l.vlar", ConditionedFake()) as library:
        library.add(clip)
        hits = library.query("a cat", 50, min_probability=0)
        store = library._connection.reader()
        assert store is not None
        (query,) = ConditionedFake().encode_queries(["a cat"])
        rows = store.fetch("SELECT start_s, end_s, vector FROM rows")
    worst = min(rows, key=lambda row: np.frombuffer(row[2], "<f2").astype(np.float64) @ query)
    assert hits[0].start_s <= worst[0] < worst[1] <= hits[0].end_s


def test_copies_stand_by_path(tmp_path: Path):
    first = tiny_video(tmp_path / "videos" / "00.mp4", 5, seconds=4)
    for number in range(1, 70):
        shutil.copy(first, first.with_name(f"{number:02}.mp4"))
    with Library(tmp_path / "l.vlar", ConditionedFake()) as library:
        library.add(first.parent)
        (hit,) = library.query("a cat", 4, min_probability=0)
        also = [copy.path for copy in hit.also]
        assert [Path(path).stem for path in (hit.path, *also)] == [f"{n:02}" for n in range(70)]


@given(st.lists(st.tuples(st.integers(-5, 5), st.one_of(st.none(), st.integers(-5, 5)))))
def test_rows_without_a_new_score_keep_their_places(drawn: list[tuple[int, int | None]]):
    rows = [ScoredSpan(i, i, 0.0, 1.0, s, 0.5) for i, (s, _) in enumerate(drawn)]
    looks = {i: SpanScore(look, look, 0.5) for i, (_, look) in enumerate(drawn) if look is not None}
    candidates = SimpleNamespace(new_score=lambda row: looks.get(row.row_id))
    ordered = _reordered(rows, candidates)
    assert sorted(row.row_id for row in ordered) == list(range(len(rows)))
    for place, row in enumerate(ordered):
        assert (row.row_id in looks) == (place in looks)
        if place not in looks:
            assert row is rows[place]
    again = [(-looks[row.row_id].score, row.row_id) for row in ordered if row.row_id in looks]
    assert again == sorted(again)


@pytest.mark.slow
def test_a_real_tc_clip(tmp_path: Path):
    from vlar.encoders.base import load_encoder
    from vlar.media.video.decode import read_clip
    from vlar.model.model import Model
    from vlar.types import Window

    base = golden.save_base(tmp_path / "base")
    checkpoint = golden.save_checkpoint(tmp_path / "best.pth")
    names = ("seed_fraction", "context_tokens", "merge_step")
    options = "&".join(f"{name}={golden.settings()[name]}" for name in names)
    spec = f"tc-clip:{checkpoint}?base=openclip:{base}&{options}"
    text = golden.facts("a")["config"]["classnames"][0]
    for number in range(2):
        tiny_video(tmp_path / "videos" / f"{number}.mp4", number, seconds=6)
    model = Model(load_encoder(spec))
    with Library(tmp_path / "l.vlar", model) as library:
        assert library.add(tmp_path / "videos").rows == 4
        assert library.info().context_rows == 4
    with Library(tmp_path / "l.vlar", model) as library:
        hits = library.query(text, 10, min_probability=0)
    best = {}
    for path in sorted((tmp_path / "videos").iterdir()):
        for start_s in (0.0, 2.0):
            clip = read_clip(
                path,
                Window(start_s, start_s + 4.0),
                model.words.n_frames,
                shorter_side=model.words.shorter_side,
            )
            (seen,) = model.words.encode([clip])
            context = seen.context[None].astype(np.float16)
            own = model.words.conditioned_queries([text], context)[0, 0]
            vector = seen.vector.astype(np.float16).astype(np.float32)
            score = float(vector @ own)
            assert abs(score - vector @ model.words.encode_queries([text])[0]) > 2e-4
            probability = model.words.match_probability(vector[None], own)[0]
            rank = (round(float(probability), 6), score)
            best[str(path)] = max(rank, best.get(str(path), (-1.0, 0.0)))
    first = {}
    for hit in hits:
        first.setdefault(hit.path, hit.similarity)
    assert first == pytest.approx({path: score for path, (_, score) in best.items()}, abs=2e-5)
    assert list(first) == sorted(best, key=best.__getitem__, reverse=True)
    assert all(0 < hit.probability < 1 for hit in hits)
