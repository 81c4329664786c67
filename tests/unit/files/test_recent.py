"""Values that were asked for last: they are made once, and the oldest go first."""

from vlar.files.recent import Recent


def test_a_value_is_made_once_and_the_last_ones_asked_for_stay():
    made: list[str] = []
    recent = Recent(2)

    def keep(key: str) -> str:
        return recent.keep(key, lambda: made.append(key) or key.upper())

    assert [keep(key) for key in ("a", "b", "a", "c", "a", "b")] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]  # b was asked for longest ago when c came
    assert (recent.get("a"), recent.get("c")) == ("A", None)


def test_a_value_may_be_none():
    recent, made = Recent(1), []
    assert recent.keep("a", lambda: made.append(1)) is None
    recent.keep("a", lambda: made.append(1))
    assert len(made) == 1


def test_nothing_stays_after_clear():
    recent = Recent(1)
    recent.keep("a", lambda: 1)
    recent.clear()
    assert recent.get("a") is None
