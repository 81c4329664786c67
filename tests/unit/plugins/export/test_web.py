"""The folder of a page: its files, its graphs against the model, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.errors import ModelError, UsageError
from vlar.files.fetched_weights.packages import Extra
from vlar.plugins.export import answer, web
from vlar.plugins.export.trace import TracedGraph
from vlar.plugins.export.web import export_web

RUNTIME = Extra("none", "", (), 0, "MIT (nobody)", "terms", ())


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "extra", lambda _: RUNTIME)


@pytest.mark.slow  # towers run on three clips
def test_a_list_of_lite_is_written_as_lite_objects(lite_model: vlar.Model, tmp_path: Path):
    card = export_web(lite_model, tmp_path / "page", "a dog, golf, swimming")
    bodies = getattr(lite_model.encoder, "body", None)  # with lite-motion
    assert card["model"] == ("lite" if bodies is None else "lite-objects")
    assert card["difference"] <= answer.MOST_DIFFERENCE
    stored = json.loads((tmp_path / "page" / "card.json").read_text())
    assert stored["labels"] == ["a dog", "golf", "swimming"]
    assert stored["fingerprint"] == vlar.load("lite-objects").fingerprint
    for name, size in stored["bytes"].items():
        assert (tmp_path / "page" / name).stat().st_size == size
    assert "nobody" in (tmp_path / "page" / "LICENCES.txt").read_text()
    refused(UsageError, "exists", export_web, lite_model, tmp_path / "page", "a dog, golf")


@pytest.mark.slow  # torch's exporter takes seconds for each
@pytest.mark.parametrize("adapted", [False, True])
def test_an_image_tower_is_written_with_its_own_answer(tmp_path: Path, adapted: bool):
    pytest.importorskip("onnxscript")
    models.save_siglip(tmp_path / "siglip")
    model = vlar.load(f"hf:{tmp_path / 'siglip'}", device="cpu")
    labels: str | None = "a dog, golf, swimming"
    if adapted:
        draw = np.random.default_rng(0)
        support = {
            label: [(draw.integers(0, 60, (9, 24, 24, 3)) + 60 * n).astype(np.uint8)] * 4
            for n, label in enumerate(("dark", "light"))
        }
        model, labels = model.adapt(support, method="ridge"), None
    card = export_web(model, tmp_path / "page", labels)
    assert card["difference"] <= answer.MOST_DIFFERENCE
    if adapted:
        refused(UsageError, "leave --labels out", export_web, model, tmp_path / "other", "a, b")


def test_a_difference_is_refused(lite_model: vlar.Model):
    clips = np.zeros((1, 4, 8, 8, 3), np.uint8)
    wrong = lambda _: np.array([0.9, 0.1, 0.0])  # noqa: E731
    refused(ModelError, "differs from model", answer.checked, lite_model, "a, b", clips, wrong)


def test_numpy_of_zero_shot_answers_becomes_a_graph():
    import onnxruntime

    graph, value = TracedGraph(), np.random.default_rng(0).normal(size=(2, 7))
    value[1] = 0
    x = graph.input("x", value)

    def code(x):
        shown = ~x.any(axis=1) | (x > 1).any(axis=1)
        spread = np.partition(x, (3, 6), axis=1)[:, 6]
        return np.where(shown, np.logaddexp(spread, -np.inf), x.clip(min=0.0).sum(axis=1))

    model = graph.model([x], code(x), "out")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for rows in (value, value[::-1] * 3):
        np.testing.assert_allclose(session.run(None, {"x": rows})[0], code(rows), atol=1e-6)
