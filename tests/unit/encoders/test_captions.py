"""Words that captions quote, read again."""

from __future__ import annotations

from vlar.encoders.captions import Quote, quote, quotes


def test_quotes_come_back_by_time_and_those_that_touch_are_one():
    captions = [
        " ".join(["a street", quote("shows", 0, 2, "EXIT"), quote("says", 1, 3, 'go "on"', "en")]),
        quote("shows", 2, 4, "EXIT"),
        quote("shows", 8, 9, "EXIT"),
        "a man says (loudly): nothing",
    ]
    assert quotes(captions) == [
        Quote("shows", 0.0, 4.0, "EXIT", ""),
        Quote("says", 1.0, 3.0, "go 'on'", "en"),
        Quote("shows", 8.0, 9.0, "EXIT", ""),
    ]
    assert quotes(["says (en, 9999999999999999999999-1 s): no"]) == []
