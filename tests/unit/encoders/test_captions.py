"""Words that captions quote, read again."""

from __future__ import annotations

from vlar.encoders.captions import CaptionQuote, quote, quotes


def test_quotes_come_back_by_time_and_those_that_touch_are_one():
    captions = [
        " ".join(["a street", quote("shows", 0, 2, "EXIT"), quote("says", 1, 3, 'go "on"', "en")]),
        quote("shows", 2, 4, "EXIT", box=(0.5, 0.25, 1.1, 0.3)),
        quote("shows", 8, 9, "EXIT", box=(0.5, 0.25, 1.1, 0.3)),
        "a man says (loudly): nothing",
    ]
    assert quotes(captions) == [
        CaptionQuote("shows", 0.0, 4.0, "EXIT", ""),
        CaptionQuote("says", 1.0, 3.0, "go 'on'", "en"),
        CaptionQuote("shows", 8.0, 9.0, "EXIT", "", (50, 25, 100, 30)),
    ]
    assert quotes(['shows (0.0-1.0 s @9,9,9,30): "no area"'])[0].box is None
    assert quotes(["says (en, 9999999999999999999999-1 s): no"]) == []
