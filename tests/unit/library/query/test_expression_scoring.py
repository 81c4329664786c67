"""What a query is worth on every window, against a model that looks at one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.library.query.expression_scoring import PRODUCT, WEAKEST, Evaluator, ScoredWindows
from vlar.library.query.grammar import (
    And,
    During,
    In,
    Leaf,
    Node,
    Not,
    Or,
    Phrase,
    Product,
    Then,
    Weighted,
    has_sequence,
    leaves,
    parse,
)
from vlar.library.query.similarity import normalized

BASE_S = 4.0
NAMES = ("a", "b", "c")
Row = tuple[int, float, float]  # video, start_s, end_s
Span = tuple[int, float, float, float]  # video, start_s, end_s, value


class Reference:
    """The rule of docs/ranking.md, one window at a time."""

    def __init__(self, rows: list[Row], value: dict[Leaf, list[float]]) -> None:
        self.rows, self.value = rows, value

    def spans(self, node: Node) -> list[Span]:
        if not has_sequence(node):
            every = range(len(self.rows))
            return [
                (
                    *self.rows[i],
                    self.worth(node, lambda leaf, i=i: self.value[leaf][i], self.rows[i][0]),
                )
                for i in every
            ]
        match node:
            case Then(first, second, within_s):
                return self.pairs(first, second, 30.0 if within_s is None else within_s)
            case Or(parts):
                return [span for part in parts for span in self.spans(part)]
            case And(parts):
                (sequence,) = [part for part in parts if has_sequence(part)]
                return [self.joined(span, sequence, parts) for span in self.spans(sequence)]
            case During(part, other):
                # ``And`` makes an object of its own of what may be the same phrase as ``part``.
                return [self.joined(span, part, (part, And((other,)))) for span in self.spans(part)]
            case In(part, pattern):
                return [(v, s, e, x * meant(v, pattern)) for v, s, e, x in self.spans(part)]
            case _:
                return self.spans(node.part)

    def pairs(self, first: Node, second: Node, within_s: float) -> list[Span]:
        found: list[Span] = []
        for video, start, end, value in self.spans(second):
            before = [
                s
                for s in self.spans(first)
                if s[0] == video and start - within_s - 1e-6 <= s[2] <= start + BASE_S / 2 + 1e-6
            ]
            if not before:
                continue
            best = max(before, key=lambda s: s[3])
            if best[1] < start:
                worth = weighed(best[3], first) * weighed(value, second)
                found.append((video, best[1], max(end, best[2]), worth))
        return found

    def joined(self, span: Span, sequence: Node, parts: tuple[Node, ...]) -> Span:
        video, start, end, value = span

        def of_leaf(leaf: Leaf) -> float:
            inside = [
                self.value[leaf][i]
                for i, (v, s, e) in enumerate(self.rows)
                if v == video and start - 1e-6 <= (s + e) / 2 <= end + 1e-6
            ]
            return max(inside, default=0.0)

        total = 1.0
        for part in parts:
            worth = value if part is sequence else self.worth(part, of_leaf, video)
            total *= weighed(worth, part)
        return (video, start, end, total)

    def worth(self, node: Node, of_leaf, video: int) -> float:
        match node:
            case Phrase():
                return of_leaf(node)
            case Product():
                return max(of_leaf(phrase) for phrase in node.phrases)
            case Not(Weighted(part, weight)):
                return (1 - self.worth(part, of_leaf, video)) ** weight
            case Not(part):
                return 1 - self.worth(part, of_leaf, video)
            case And(parts):
                return float(np.prod([weighed(self.worth(p, of_leaf, video), p) for p in parts]))
            case Or(parts):
                misses = [weighed(1 - self.worth(p, of_leaf, video), p) for p in parts]
                return 1 - float(np.prod(misses))
            case In(part, pattern):
                return self.worth(part, of_leaf, video) * meant(video, pattern)
            case Weighted(part):
                return self.worth(part, of_leaf, video)
        raise AssertionError(node)


def meant(video: int, pattern: str) -> float:
    return float(str(video) in pattern)


def weighed(value: float, part: Node) -> float:
    return value**part.weight if isinstance(part, Weighted) else value


def evaluator(rows: list[Row], value: dict[Leaf, list[float]]) -> Evaluator:
    table = np.array(rows, np.float64).reshape(-1, 3)
    videos = table[:, 0].astype(np.int64)
    windows = ScoredWindows(np.arange(len(rows)), videos, table[:, 1], table[:, 2], BASE_S)

    def matching(pattern: str) -> np.ndarray:
        return np.array([meant(video, pattern) for video in videos.tolist()])

    return Evaluator(windows, {leaf: np.array(v) for leaf, v in value.items()}, matching)


LIBRARIES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 12), st.booleans()),
    min_size=1,
    max_size=14,
    unique=True,
).map(lambda drawn: sorted((v, 2.0 * s, 2.0 * s + (16 if long else 4)) for v, s, long in drawn))
LEAVES = st.sampled_from(NAMES).map(Phrase) | st.just(Product((("x", ("a", "b")),)))


def without_then(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    weighted = st.builds(
        Weighted, parts.filter(lambda p: not isinstance(p, Weighted)), st.sampled_from([0.5, 2.0])
    )
    patterns = st.sampled_from(["0", "12"])
    return st.one_of(
        weighted, st.builds(Not, parts), st.builds(And, several), st.builds(Or, several),
        st.builds(In, parts, patterns),
    )  # fmt: skip


WINDOW_TREES = st.recursive(LEAVES, without_then, max_leaves=4)
CHAINS = st.recursive(
    st.builds(Then, WINDOW_TREES, WINDOW_TREES, st.sampled_from([None, 0.0, 3.0, 10.0]))
    | st.builds(During, WINDOW_TREES, WINDOW_TREES),
    lambda parts: st.one_of(
        st.builds(Then, parts, LEAVES, st.sampled_from([2.0, 8.0])),
        st.builds(Then, LEAVES, parts, st.sampled_from([2.0, 8.0])),
        st.builds(During, parts, LEAVES),
        st.tuples(parts, WINDOW_TREES).map(And),
        st.tuples(WINDOW_TREES, parts).map(Or),
        st.builds(In, parts, st.just("02")),
    ),
    max_leaves=3,
)


@settings(max_examples=150, deadline=None)
@given(st.data(), LIBRARIES, WINDOW_TREES | CHAINS)
def test_equals_the_rule(data: st.DataObject, rows: list[Row], tree: Node):
    # Different values, so that the best window is one and the same for both.
    levels = data.draw(st.permutations(range(1, 3 * len(rows) + 1)))
    value = {
        Phrase(name): [x / (3 * len(rows) + 1) for x in levels[i::3]]
        for i, name in enumerate(NAMES)
    }
    spans = evaluator(rows, value).spans(tree)
    found = sorted(
        (int(v), float(s), float(e), round(float(x), 9))
        for v, s, e, x in zip(spans.video_ids, spans.start_s, spans.end_s, spans.value, strict=True)
    )
    expected = sorted((v, s, e, round(x, 9)) for v, s, e, x in Reference(rows, value).spans(tree))
    # What is worth nothing has no best partner.
    found, expected = ([row for row in rows if row[3] > 0] for rows in (found, expected))
    assert [f[:3] for f in found] == [e[:3] for e in expected]
    assert [f[3] for f in found] == pytest.approx([e[3] for e in expected], abs=1e-8)


def test_and_finds_the_window_that_is_second_for_both():
    rows = [(0, 2.0 * i, 2.0 * i + 4) for i in range(5)]
    value = {Phrase("a"): [0.9, 0.6, 0.0, 0.1, 0.1], Phrase("b"): [0.0, 0.6, 0.9, 0.1, 0.1]}
    spans = evaluator(rows, value).spans(parse("a AND b"))
    assert int(spans.value.argmax()) == 1


def test_the_weakest_part_is_what_a_threshold_sees():
    rows = [(0, 0.0, 4.0), (0, 6.0, 10.0)]
    value = {Phrase("a"): [0.9, 0.2], Phrase("b"): [0.1, 0.8]}
    of = evaluator(rows, value)
    tree = parse("a THEN b WITHIN 5s")
    spans = of.spans(tree)
    assert spans.value.tolist() == pytest.approx([0.72])
    probability = {leaf: np.array(v) for leaf, v in value.items()}
    assert of.at_parts(tree, spans, probability, WEAKEST).tolist() == pytest.approx([0.8])
    assert of.at_parts(tree, spans, probability, PRODUCT).tolist() == pytest.approx([0.72])
    assert {leaf: at.tolist() for leaf, at in spans.parts.items()} == {
        Phrase("a"): [0],
        Phrase("b"): [1],
    }


def test_during_finds_what_and_misses_and_answers_with_the_span_of_the_first():
    rows = [(0, 2.0 * i, 2.0 * i + 4) for i in range(5)] + [(1, 0.0, 4.0)]
    value = {Phrase("a"): [0.0, 0.9, 0.0, 0.0, 0.0, 0.9], Phrase("b"): [0, 0, 0.8, 0, 0, 0.0]}
    of = evaluator(rows, value)
    assert of.spans(parse("a AND b")).value.max() == 0
    tree = parse("a DURING b")
    spans = of.spans(tree)
    best = int(spans.value.argmax())
    assert (spans.start_s[best], spans.end_s[best]) == (2.0, 6.0)
    assert spans.value[best] == pytest.approx(0.72)
    assert spans.value[5] == 0  # in another recording
    assert {leaf: int(at[best]) for leaf, at in spans.parts.items()} == {
        Phrase("a"): 1,
        Phrase("b"): 2,
    }
    probability = {leaf: np.array(v) for leaf, v in value.items()}
    assert of.at_parts(tree, spans, probability, WEAKEST)[best] == pytest.approx(0.8)
    assert of.curves[int(spans.end_curve[best])].tolist() == spans.value.tolist()


def test_the_side_of_an_or_that_is_silent_has_no_say():
    rows = [(0, 0.0, 4.0), (0, 6.0, 10.0)]
    value = {Phrase("a"): [0.9, 0.2], Phrase("b"): [0.1, 0.8], Phrase("c"): [0.3, 0.4]}
    of = evaluator(rows, value)
    tree = parse("(a THEN b WITHIN 5s) OR NOT c")
    probability = {leaf: np.array(v) for leaf, v in value.items()}
    weakest = of.at_parts(tree, of.spans(tree), probability, WEAKEST)
    assert weakest.tolist() == pytest.approx([0.8, 0.7, 0.6])


def test_what_stands_out_does_not_depend_on_a_phrase_being_near_to_everything():
    cosines = np.random.default_rng(0).normal(size=100)
    one = normalized(0.1 * cosines + 0.3, np.zeros(100))
    assert one == pytest.approx(normalized(cosines, np.zeros(100)))
    assert (np.argsort(one) == np.argsort(cosines)).all()
    few = np.linspace(0, 1, 5)
    assert (normalized(cosines[:5], few) == few).all()
    assert normalized(np.full(40, 0.2), np.zeros(40)).max() < 0.5


def test_leaves_are_each_compared_once():
    assert leaves(parse("a AND (b OR NOT a) THEN [x=a|c]")) == tuple(map(Phrase, NAMES))
