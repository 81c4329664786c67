from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.library.query.candidates import ScoredSpan, merge


def row(row_id: int, video: int, start: float, similarity: float, width: float = 4.0) -> ScoredSpan:
    return ScoredSpan(row_id, video, start, start + width, max(similarity, 0.0), similarity)


def neighbours_in(rows: list[ScoredSpan]):
    def walk(match: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        same = sorted(
            (r for r in rows if r.video_id == match.video_id), key=lambda r: (r.start_s, r.end_s)
        )
        place = (match.start_s, match.end_s)
        if later:
            return iter([r for r in same if (r.start_s, r.end_s) > place])
        return iter([r for r in reversed(same) if (r.start_s, r.end_s) < place])

    return walk


def spans(rows: list[ScoredSpan], k: int = 100) -> list[tuple[int, float, float, float]]:
    ranked = sorted(rows, key=lambda r: (-r.similarity, r.row_id))
    merged = merge(ranked, neighbours_in(rows), k)
    return [(m.video_id, m.start_s, m.end_s, m.similarity) for m in merged]


def video(similarities: list[float], number: int = 1, stride: float = 2.0) -> list[ScoredSpan]:
    return [row(100 * number + i, number, i * stride, s) for i, s in enumerate(similarities)]


def test_windows_that_answer_together_are_one_span():
    assert spans(video([0.1, 0.8, 0.9, 0.7, 0.1]))[0] == (1, 2.0, 10.0, 0.9)


def test_a_window_half_as_probable_ends_the_span():
    assert spans(video([0.9, 0.44, 0.43, 0.9]), 2) == [(1, 0.0, 4.0, 0.9), (1, 6.0, 10.0, 0.9)]


def test_touching_windows_join_and_separate_ones_do_not():
    assert spans(video([0.9, 0.8], stride=4.0)) == [(1, 0.0, 8.0, 0.9)]
    assert len(spans(video([0.9, 0.8], stride=5.0))) == 2


def test_mostly_the_same_seconds_are_one_answer():
    # The second window shows half of the first one's seconds and answers far less.
    assert spans(video([0.9, 0.1])) == [(1, 0.0, 4.0, 0.9)]


def test_videos_are_kept_apart():
    assert spans(video([0.9], 1) + video([0.8], 2)) == [(1, 0.0, 4.0, 0.9), (2, 0.0, 4.0, 0.8)]


def test_one_picture_has_no_length():
    assert spans([row(1, 1, 0.0, 0.5, width=0.0)]) == [(1, 0.0, 0.0, 0.5)]


def test_probability_zero_everywhere_still_answers():
    rows = [ScoredSpan(i, 1, 10.0 * i, 10.0 * i + 4, 0.1 * i, 0.0) for i in range(3)]
    assert len(spans(rows)) == 3


SIMILARITIES = st.integers(1, 100).map(lambda n: n / 100)
LIBRARIES = st.lists(st.lists(SIMILARITIES, min_size=1, max_size=12), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(LIBRARIES, st.sampled_from([1.0, 2.0, 4.0, 5.0]))
def test_spans_of_any_library(similarities: list[list[float]], stride: float):
    rows = [r for n, s in enumerate(similarities) for r in video(s, n, stride)]
    found = spans(rows)
    scores = [span[3] for span in found]
    assert scores == sorted(scores, reverse=True)
    assert found[0][3] == max(r.similarity for r in rows)
    # A shorter answer is the beginning of a longer one.
    for k in range(1, len(found) + 1):
        assert spans(rows, k) == found[:k]
    # Every window is in an answer or shares half its time with one.
    for r in rows:
        shared = [
            min(r.end_s, end) - max(r.start_s, start)
            for number, start, end, _ in found
            if number == r.video_id
        ]
        assert max(shared) >= 0.5 * (r.end_s - r.start_s)
    # Two answers never show mostly the same seconds of the weaker one's best window.
    assert len({(v, s, e) for v, s, e, _ in found}) == len(found)
