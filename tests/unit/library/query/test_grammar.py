"""The language: what is read, what is written back, what is refused and where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import QueryError
from vlar.library.query.grammar import (
    And,
    During,
    In,
    Like,
    Node,
    Not,
    Or,
    Phrase,
    Product,
    QuerySyntaxError,
    Then,
    Weighted,
    parse,
    show,
)
from vlar.library.query.plan import QueryRequest, make_plan
from vlar.types import Window

A, B, C = Phrase("a"), Phrase("b"), Phrase("c")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("riding a bike", Phrase("riding a bike")),
        ("cut and peel an apple", Phrase("cut and peel an apple")),
        ("not or then in like", Phrase("not or then in like")),
        ("a man (old) walking ^_^", Phrase("a man (old) walking ^_^")),
        ("an ANDROID in ORBIT", Phrase("an ANDROID in ORBIT")),
        ('"a"', A),
        ("“a” AND «b»", And((A, B))),
        ("a AND b OR NOT c", Or((And((A, B)), Not(C)))),
        ("a AND (b OR c)", And((A, Or((B, C))))),
        ('"a"^2 AND b^.5', And((Weighted(A, 2.0), Weighted(B, 0.5)))),
        ("a THEN b WITHIN 2 min THEN c", Then(Then(A, B, 120.0), C)),
        ("a OR b THEN c", Then(Or((A, B)), C)),
        ("a DURING b", During(A, B)),
        ("a AND b DURING NOT c", During(And((A, B)), Not(C))),
        ("a THEN b DURING c", During(Then(A, B), C)),
        ("a DURING b THEN c", Then(During(A, B), C)),
        ('a AND b IN "x/*"', In(And((A, B)), "x/*")),
        ("(a IN x/*) OR b", Or((In(A, "x/*"), B))),
        ('"say \\"hi\\" \\\\" OR a', Or((Phrase('say "hi" \\'), A))),
        ("LIKE a.mp4", Like("a.mp4")),
        ("LIKE a.mp4@3s-1min AND b", And((Like("a.mp4", Window(3.0, 60.0)), B))),
        ('LIKE "my a@b.mp4"@500ms-2s', Like("my a@b.mp4", Window(0.5, 2.0))),
        ("LIKE a.jpg OR LIKE clip.mp4@3s-7s", Or((Like("a.jpg"), Like("clip.mp4", Window(3, 7))))),
        ('LIKE "my photo@3s-7s.PNG"', Like("my photo@3s-7s.PNG")),
        (
            '[verb=cut up|peel object="red apple"]',
            Product((("verb", ("cut up", "peel")), ("object", ("red apple",)))),
        ),
    ],
)
def test_is_read(text: str, tree: Node):
    assert parse(text) == tree
    assert parse(show(tree)) == tree


@pytest.mark.parametrize(
    ("text", "position", "hint"),
    [
        ('"a" and "b"', 4, "capitals: AND"),
        ('"a', 0, "not closed"),
        ('a AND "b', 6, "not closed"),
        ("(a AND b", 0, r"add '\)'"),
        ("a) AND b", 1, "closes no bracket"),
        ("[verb=a AND b", 0, "add ']'"),
        ("a AND", 5, "needs a phrase"),
        ("AND b", 0, "before it"),
        ("a OR AND b", 5, "before it"),
        ("a NOT b", 2, "AND NOT"),
        ("a THEN b WITHIN", 15, "span of time"),
        ("a THEN b WITHIN 10 parsecs", 16, "units are ms, s, m or h"),
        ("a WITHIN 3s", 2, "limits a THEN"),
        ("a AND LIKE", 10, "video file"),
        ("LIKE a.mp4@9s-2s", 5, "ends before"),
        ("b AND LIKE a.jpg@3s-7s", 11, "a picture has no span"),
        ('riding "a bike"', 7, "AND, OR or THEN"),
        ('"a"^', 4, "a number"),
        ('"a"^1000', 4, "0.01 to 100"),
        ('"" AND a', 0, "no word"),
        ("a AND ()", 7, "needs a phrase"),
        ("MAN IN BLACK", 7, "folder"),
        ("a AND b=c", 7, r"\[verb="),
        ("跳舞 AND", 6, "needs a phrase"),
    ],
)
def test_is_refused_where_it_goes_wrong(text: str, position: int, hint: str):
    with pytest.raises(QuerySyntaxError, match=hint) as caught:
        parse(text)
    assert caught.value.position == position
    first, second = caught.value.picture.split("\n")
    assert first.strip() == text
    assert second.endswith("^")


def test_the_caret_stands_below_wide_letters():
    with pytest.raises(QuerySyntaxError) as caught:
        parse('"跳舞" "b"')
    assert caught.value.picture.split("\n")[1] == "  " + " " * 7 + "^"


@pytest.mark.parametrize(
    "text",
    ["NOT (a THEN b)", "(a THEN b) AND (b THEN c)", "NOT (a DURING b)", "a DURING (b THEN c)",
     "(a DURING b) AND (b DURING c)"],
)  # fmt: skip
def test_sequences_that_have_no_span(text: str):
    refused(QueryError, r"THEN|sequence", make_plan, QueryRequest(text, 5))


def test_too_much_is_refused():
    for text in (
        "(" * 500 + '"a"' + ")" * 500,
        "NOT " * 500 + "a",
        "a AND " * 500 + "b",
        "a" * 20_000,
    ):
        refused(QuerySyntaxError, "", parse, text)
    values = "|".join(f"v{i}" for i in range(20))
    refused(QuerySyntaxError, "combinations", parse, f"[a={values} b={values}]")


WORDS = st.lists(
    st.sampled_from(['"', "\\", "AND", "(a)", "é", "跳", "[b=", "x^2", "in", "|", "@1s-2s"]),
    max_size=4,
).map(lambda pieces: " ".join([*pieces, "a"]))
NUMBERS = st.floats(0.01, 100, allow_nan=False)
WINDOWS = st.tuples(st.floats(0, 50), st.floats(50.1, 90)).map(lambda w: Window(*w))
SLOTS = st.tuples(
    st.sampled_from(["verb", "object"]), st.lists(WORDS, min_size=1, max_size=2).map(tuple)
)
LEAVES = st.one_of(
    st.builds(Phrase, WORDS),
    st.builds(Like, WORDS, st.none() | WINDOWS),
    st.builds(Like, WORDS.map(lambda path: f"{path}.jpg")),
    st.builds(Product, st.lists(SLOTS, min_size=1, max_size=2).map(tuple)),
)


def joined(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    plain = parts.filter(lambda node: not isinstance(node, Weighted))
    return st.one_of(
        st.builds(Weighted, plain, NUMBERS),
        st.builds(Not, parts),
        st.builds(And, several),
        st.builds(Or, several),
        st.builds(Then, parts, parts, st.none() | st.floats(0, 1e5)),
        st.builds(During, parts, parts),
        st.builds(In, parts, WORDS),
    )


@settings(max_examples=60, deadline=None)
@given(st.recursive(LEAVES, joined, max_leaves=6))
def test_what_is_written_reads_as_the_same(tree: Node):
    assert parse(show(tree)) == tree


PIECES = st.sampled_from(
    [*"()[]^2|", "AND", "OR", "NOT", "THEN", "DURING", "WITHIN", "IN", "LIKE", '"']
) | st.sampled_from(["verb=", "a", "10s", "@1s-2s", "\\", "and", "x.mp4", "é"])


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map(" ".join)))
def test_any_text_is_read_or_refused_with_a_place(text: str):
    refusal, tree = None, None
    try:
        tree = parse(text)
    except QuerySyntaxError as error:
        refusal = error
    if refusal is not None:
        assert 0 <= refusal.position <= len(refusal.query)
        assert refusal.picture.count("\n") == 1
    if tree is not None:
        assert parse(show(tree)) == tree
