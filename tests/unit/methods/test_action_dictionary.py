"""Bags of texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import LabelError
from vlar.language.labels import parse_labels
from vlar.methods.maxi.objective import bag_text, draw_bag, expansions, read_captions, without_label


@given(st.integers(0, 40), st.integers(1, 32), st.integers(0, 99))
def test_a_bag_has_its_size_and_is_drawn_evenly(count: int, size: int, seed: int):
    words = [f"w{i}" for i in range(count)]
    drawn = draw_bag(words, size, np.random.default_rng(seed))
    assert len(drawn) == size
    if not words:
        assert set(drawn) == {""}
        return
    counts = Counter(drawn)
    assert set(counts) <= set(words)
    often = [counts[word] for word in words]
    assert max(often) - min(often) <= 1


def test_the_label_itself_is_no_word_of_its_bag():
    words = ["Clap", "applaud", "clap ", "", "applaud", "clapping"]
    assert without_label("clap", words) == ("applaud", "clapping")


def test_texts_keep_the_label():
    assert bag_text("a photo of a clap.", "") == "a photo of a clap."
    assert bag_text("clap", "Hands meet.") == "clap. Hands meet."


def test_banks_say_more_and_never_what_a_label_is_not():
    rows = expansions(parse_labels("bank:ucf101"))
    labels = parse_labels("bank:ucf101").labels
    assert len(rows) == len(labels)
    assert min(map(len, rows)) >= 4
    archery = rows[labels.index("archery")]
    assert "shooting a bow" in archery
    assert not [text for text in archery if "Differs from" in text or "Unlike" in text]
    assert expansions(parse_labels(["zorbing on ice", "archery"]))[0] == ()


def test_captions_are_read_by_recording(tmp_path: Path):
    file = tmp_path / "captions.csv"
    file.write_text("path,caption\na.mp4,A man runs.\na.mp4,A dog.\nb/c.mp4,Rain\n")
    found = read_captions(file)
    assert found == {
        (tmp_path / "a.mp4").resolve(): ["A man runs.", "A dog."],
        (tmp_path / "b" / "c.mp4").resolve(): ["Rain"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,caption\n", "no caption in it"),
        ("path,text\na.mp4,x\n", "line 2 lacks a path or a caption"),
        ("path,caption\n,x\n", "line 2 lacks a path or a caption"),
    ],
)
def test_files_of_captions_that_are_none(tmp_path: Path, text: str, message: str):
    file = tmp_path / "captions.csv"
    file.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_captions(file)
    with pytest.raises(LabelError, match="cannot be read"):
        read_captions(tmp_path / "none.csv")
