"""Figures of segments, by hand."""

from __future__ import annotations

import pytest

from tests.refusals import refused
from vlar.behaviour.measures.segmentation import segment_metrics
from vlar.errors import MetricError
from vlar.segments import Segment


def test_segments_have_the_figures_of_detection_and_segmentation():
    """By hand: of a, b, a the answers have a whole, b with an overlap of .4, and c instead of a."""
    true = [Segment("x", 0, 4, "a"), Segment("x", 4, 8, "b"), Segment("x", 8, 10, "a")]
    answers = [Segment("x", 0, 4, "a"), Segment("x", 6.4, 8, "b"), Segment("x", 8, 10, "c")]
    figures = segment_metrics(answers, true)
    assert figures["F1@0.1"] == figures["F1@0.25"] == pytest.approx(2 / 3)
    assert figures["F1@0.5"] == pytest.approx(1 / 3)
    assert figures["edit"] == pytest.approx(2 / 3)
    assert figures["mAP@0.3"] == pytest.approx((0.5 + 1) / 2)
    assert figures["mAP@0.5"] == pytest.approx((0.5 + 0) / 2)
    perfect = segment_metrics(true, true)
    assert set(perfect.values()) == {1.0}
    assert segment_metrics([], true)["F1@0.1"] == 0.0  # the control: no answers
    refused(MetricError, "no query has a right answer", segment_metrics, answers, [])
