"""``--explain``: how labels were understood, and what spoke for an answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vlar.apps.cli import explain
from vlar.encoders.base import Block
from vlar.language.motion.verb_table import TextMotion, VerbTable
from vlar.pose.attributes.base import attribute_names
from vlar.types import Classification, Prediction

NAMES = attribute_names()


def embed(texts: list[str]) -> np.ndarray:
    """Texts with an s at their end are near each other; all others are near nothing."""
    vectors = np.eye(64, dtype=np.float32)[[hash_of(text) for text in texts]]
    vectors[[text.endswith("s") for text in texts]] = np.eye(64, dtype=np.float32)[0]
    return vectors


def hash_of(text: str) -> int:
    return 1 + sum(text.encode()) % 63


def model(how: str = "table") -> SimpleNamespace:
    table = VerbTable("strolls: travel+ fast-\nhop: airborne+", embed if how != "table" else None)
    return SimpleNamespace(encoder=SimpleNamespace(explain=table.lookup))


def test_a_label_in_the_table_says_which_phrase(capsys: pytest.CaptureFixture[str]):
    explain.labels(model(), ["she hops"])  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "vlar: 'she hops' is 'hop'\n"


def test_the_nearest_verb_and_the_unknown_are_named(capsys: pytest.CaptureFixture[str]):
    explain.labels(model("nearest"), ["ambles", "quartz"])  # type: ignore[arg-type]
    near, unknown = capsys.readouterr().err.splitlines()
    assert near == "vlar: 'ambles' is like 'strolls'"
    assert unknown == "vlar: 'quartz' says nothing of motion"


@pytest.mark.parametrize("encoder", [SimpleNamespace(), SimpleNamespace(explain=lambda text: None)])
def test_without_bodies_it_is_said_once(
    encoder: SimpleNamespace, capsys: pytest.CaptureFixture[str]
):
    explain.labels(SimpleNamespace(encoder=encoder), ["hop", "sit"])  # type: ignore[arg-type]
    assert capsys.readouterr().err.count("lite-motion") == 1


def answered(motion: dict[str, float]) -> SimpleNamespace:
    """A model whose clip has these attributes, asked for a label that has all of them."""
    blocks = (Block("objects", 2, 0.7, True), Block("motion", len(NAMES), 0.7, True))
    clip = np.array([[0.5, 0.0, *(motion.get(name, 0.0) for name in NAMES)]], np.float32)
    asked: list[str] = []

    def queries(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.ones((1, clip.shape[1]), np.float32)

    return SimpleNamespace(
        encoder=SimpleNamespace(blocks=blocks),
        view_sampler=SimpleNamespace(sample=lambda path, window: [path]),
        encode_views=lambda looks: SimpleNamespace(vector=clip[0]),
        encode_labels=queries,
        asked=asked,
    )


def row() -> Classification:
    best = (Prediction("hop", 0.9, 0.5),)
    return Classification(Path("a.mp4"), 0.0, 1.0, "lite", best, False, 0.1)


def test_the_strongest_attributes_come_first(capsys: pytest.CaptureFixture[str]):
    many = {name: 0.01 * (i + 1) for i, name in enumerate(NAMES[:7])}
    fake = answered({**many, "airborne": 0.4, "travel": -0.3})
    explain.answer(fake, row(), {"hop": "hopping about"})  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert fake.asked == ["hopping about"]
    assert "objects +0.500" in said
    assert "(airborne +0.400, travel -0.300, " in said
    assert said.count(", ") == 5  # one behind the objects, four between five attributes


def test_nobody_seen_is_said(capsys: pytest.CaptureFixture[str]):
    explain.answer(answered({}), row(), {})  # type: ignore[arg-type]
    assert "motion +0.000 (no body seen)" in capsys.readouterr().err


def test_models_without_a_motion_block_say_nothing(capsys: pytest.CaptureFixture[str]):
    encoder = SimpleNamespace(blocks=(Block("joint", 4, 1.0, True),))
    explain.answer(SimpleNamespace(encoder=encoder), row(), {})  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


def test_meaning_as_json_names_its_attributes():
    weights = np.zeros(len(NAMES), np.float32)
    weights[NAMES.index("travel")] = -0.25
    found = TextMotion("stay", weights, ("stay",), "nearest").to_dict()
    assert found["attributes"] == {"travel": -0.25}
    assert (found["how"], found["phrases"]) == ("nearest", ["stay"])
