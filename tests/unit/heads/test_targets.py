from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from vlar.errors import SupportError
from vlar.heads.support import SupportItem
from vlar.heads.targets import Targets


def item(*labels: str, **parts: str) -> SupportItem:
    return SupportItem(Path("x.mp4"), None, labels, "x", parts)


def test_one_label_a_clip():
    targets = Targets.of(("a", "b"), [item("b"), item("a"), item("b")])
    assert targets.form == "one-hot"
    assert targets.columns.tolist() == [1, 0, 1]
    assert targets.member.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert targets.part([2, 1]).columns.tolist() == [1, 0]
    scores = np.array([[0.1, 0.9], [0.1, 0.9], [0.5, 0.5]])
    assert targets.accuracy(scores).tolist() == [1, 0, 0]


def test_several_labels_a_clip():
    targets = Targets.of(("a", "b", "c"), [item("c", "a"), item("b")])
    assert targets.form == "multi-hot"
    assert targets.member.tolist() == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(SupportError, match=r"example 1 shows 2 labels \(a, c\), and ridge learns"):
        targets.require_single("ridge")
    with pytest.raises(SupportError, match="this method learns one label"):
        _ = targets.columns
    scores = np.array([[0.9, 0.8, 0.1], [0.0, 1.0, 0.0]])
    assert targets.accuracy(scores).tolist() == [0.5, 1.0]


def test_labels_in_parts():
    items = [
        item("open door", verb="open", object="door"),
        item("open box", verb="open", object="box"),
        item("close door", verb="close", object="door"),
    ]
    targets = Targets.of(("close door", "open box", "open door"), items)
    assert targets.form == "parts"
    assert targets.parts["verb"].values == ("close", "open")
    assert targets.parts["object"].values == ("box", "door")
    assert targets.pairs.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert targets.pairs[targets.columns, 0].tolist() == [1, 1, 0]
    part = targets.part([2])
    assert part.pairs[part.columns, 1].tolist() == [1]


def test_parts_that_do_not_agree_are_refused():
    with pytest.raises(SupportError, match="has the verb 'open' in one example and 'close'"):
        Targets.of(("a",), [item("a", verb="open"), item("a", verb="close")])
    with pytest.raises(SupportError, match="this example has no 'verb' and others have"):
        Targets.of(("a",), [item("a", verb="open"), item("a")])
    refused(SupportError, "'b' is not among the labels", Targets.of, ("a",), [item("b")])
