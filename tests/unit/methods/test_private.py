"""Tokens and directions of ``private``: kept, dropped, removed; and what a library of it holds."""

# pyright: basic
from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import videos
from tests.clips import clips_of
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar.encoders.protocols import PatchTokens
from vlar.errors import ModelError, UsageError
from vlar.heads.support import Support, SupportItem
from vlar.library.library import Library
from vlar.methods.stprivacy.adapter import Private, PrivateLearner, directions, erase, keep_tokens
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.method import AdaptTask, Method
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.types import Encoded

ACTIONS, PEOPLE = ("wave", "walk"), ("ann", "ben", "cem")


class Tokens(FakeEncoder, PatchTokens):
    """Parts of a frame, whose vectors follow from their mean colours."""

    def encode_regions(self, frames: Any, rows: int, columns: int) -> Any:
        height, width = frames.shape[1] // rows, frames.shape[2] // columns
        cut = frames[:, : rows * height, : columns * width].astype(np.float32)
        means = cut.reshape(len(frames), rows, height, columns, width, 3).mean(axis=(2, 4))
        parts = means.reshape(len(frames), rows * columns, 3) / 64 - 2
        waves = [np.sin(scale * parts + scale) for scale in (1, 2, 3, 5)]
        return unit(np.concatenate(waves, axis=2))


@pytest.mark.parametrize(
    ("shape", "share", "count"), [((2, 16), 0.25, 4), ((3, 7), 0.5, 4), ((1, 9), 0.01, 1),
                                  ((4, 5), 0.5, 2), ((2, 6), 1.0, 6)],
)  # fmt: skip
def test_the_best_tokens_of_each_frame_are_kept(shape: tuple[int, int], share: float, count: int):
    scores = np.random.default_rng(0).normal(size=shape)
    kept = keep_tokens(scores, share)
    assert kept.dtype == np.int64
    assert kept.shape == (shape[0], count)
    assert (np.diff(kept, axis=1) > 0).all()
    for row, places in zip(scores, kept, strict=True):
        assert set(places) == set(np.argsort(-row)[:count])
    assert keep_tokens(np.zeros(shape), share).max() == count - 1


@pytest.mark.parametrize(("n", "width", "values"), [(40, 6, 2), (60, 9, 4), (30, 50, 3)])
def test_after_erasing_the_best_linear_probe_answers_the_shares(n: int, width: int, values: int):
    random = np.random.default_rng(values)
    z = random.choice(values, n, p=unit(np.arange(values) + 1.0) ** 2)
    x = random.normal(size=(n, width)) + 3 * np.eye(values, width)[z]
    before, found = x.copy(), erase(x, [f"v{number}" for number in z])
    np.testing.assert_array_equal(x, before)
    shares = np.eye(values)[z]
    inputs = np.column_stack([found, np.ones(n)])
    probe = inputs @ np.linalg.lstsq(inputs, shares, rcond=None)[0]
    np.testing.assert_allclose(probe, np.tile(shares.mean(axis=0), (n, 1)), atol=1e-6)
    np.testing.assert_allclose(found.mean(axis=0), x.mean(axis=0), atol=1e-12)
    axes = directions(x, z.tolist())
    assert axes.shape[1] <= values - 1
    rest = np.linalg.qr(np.column_stack([axes, random.normal(size=(width, 2))]))[0][:, -2:]
    np.testing.assert_allclose(found @ rest, x @ rest, atol=1e-9)


def test_erasing_leaves_what_does_not_carry_the_attribute():
    x = np.array([[1.0, 5, 0, 2], [-1, 5, 0, 2], [1, -5, 1, 2], [-1, -5, 1, 2]])
    np.testing.assert_allclose(erase(x, ["a", "b", "a", "b"]), x * [0, 1, 1, 1], atol=1e-12)
    np.testing.assert_allclose(erase(x, ["a", "b", "b", "a"]), x, atol=1e-12)


def test_erasing_a_thousand_by_a_thousand_takes_less_than_a_second():
    x = np.random.default_rng(0).normal(size=(1000, 1000))
    start = time.process_time()
    erase(x, (np.arange(1000) % 40).tolist())
    assert time.process_time() - start < 1


def examples(adapter: Private) -> EncodedExamples:
    """Pictures of two actions by three people; brightness is the person's, colour the action's."""
    random, items, clips = np.random.default_rng(0), [], []
    for number in range(24):
        action, person = number % 2, number // 2 % 3
        frames = random.integers(0, 40, (8, 16, 16, 3), dtype=np.uint8) + np.uint8(60 * person)
        frames[:, :8, :8, action] += 50
        clips += clips_of(frames[None])
        facts = {"subject": PEOPLE[person]}
        path = Path(f"{number}.mp4")
        items.append(SupportItem(path, None, (ACTIONS[action],), PEOPLE[person], facts=facts))
    return EncodedExamples(items, adapter.source.encode(clips), ())


def made(**settings: Any) -> tuple[Private, EncodedExamples]:
    adapter = Private.attach(Tokens(), settings)
    found = examples(adapter)
    adapter.learn(found)
    return adapter, found


def test_dropped_tokens_and_whole_frames_change_nothing():
    adapter, found = made(share=0.5)
    row = found.encoded[0]
    own, tokens = adapter.source.split(row.features[None])
    places = keep_tokens(scores_of(adapter, tokens[0]), 0.5)
    worse = adapter.encoder.encode_text(["a face"])[0]
    changed = np.tile(worse, (*tokens.shape[1:3], 1))
    np.put_along_axis(
        changed, places[..., None], np.take_along_axis(tokens[0], places[..., None], 1), 1
    )
    assert np.abs(changed - tokens[0]).max() > 0.1
    other = np.concatenate([own[0] + 7, changed.reshape(len(changed), -1)], axis=1)
    (kept,), (same,) = adapter.rows([row]), adapter.rows([Encoded(other, -row.vector)])
    np.testing.assert_allclose(same.features, kept.features, atol=1e-6)
    np.testing.assert_allclose(same.vector, kept.vector, atol=1e-6)
    # The control: a kept token does change the row.
    changed[0, places[0, 0]] = worse
    other[:, -changed[0].size :] = changed.reshape(len(changed), -1)
    assert np.abs(adapter.rows([Encoded(other, row.vector)])[0].vector - kept.vector).max() > 1e-4


def scores_of(adapter: Private, tokens: Any) -> Any:
    near, far = (adapter.encoder.encode_text(texts) for texts in
                 (adapter.config.labels, adapter.config.words))  # fmt: skip
    return (tokens @ near.T).max(axis=2) - (tokens @ far.T).max(axis=2)


@pytest.mark.parametrize("grid", [2, 0])
def test_erased_features_have_one_mean_for_all_people(grid: int):
    plain, found = made(grid=grid, share=1.0)
    for removal, carries in (("erase", False), ("random", True), ("none", True)):
        adapter, _ = made(grid=grid, share=1.0, removal=removal)
        rows = np.stack([row.features.mean(axis=0) for row in adapter.rows(found.encoded)])
        people = np.array([item.facts["subject"] for item in found.items])
        means = np.stack([rows[people == person].mean(axis=0) for person in PEOPLE])
        assert (np.ptp(means, axis=0).max() > 1e-3) == carries, removal
    assert plain.frame_dim == plain.dim == 12


def test_the_reversed_classifier_is_dropped(monkeypatch: pytest.MonkeyPatch):
    adapter, found = made(share=1.0, removal="reverse")
    assert set(adapter.state_dict()) == {"weight", "bias"}
    assert not any(p.requires_grad for p in adapter.module.parameters())
    again, _ = made(share=1.0, removal="reverse")
    assert again.fingerprint == adapter.fingerprint
    plain, _ = made(share=1.0)
    texts = adapter.encode_text(ACTIONS)
    right = [
        np.mean([ACTIONS[int((texts @ row.vector).argmax())] == item.label
                 for row, item in zip(each.rows(found.encoded), found.items, strict=True)])
        for each in (adapter, plain)
    ]  # fmt: skip
    assert right[0] > right[1]
    # The control: the reversed gradient is part of the training.
    monkeypatch.setattr("vlar.methods.stprivacy.adapter.ramp", lambda progress: 0.0)
    control, _ = made(share=1.0, removal="reverse")
    assert control.fingerprint != adapter.fingerprint


def test_bad_input_is_refused():
    adapter = Private.attach(Tokens(), {"removal": "erase"})
    found = examples(adapter)
    one = [replace(item, facts={"subject": "ann"}) for item in found.items]
    empty = [replace(item, facts={}) for item in found.items]
    rows = [
        (UsageError, "one value, 'ann'", adapter.learn, replace(found, items=one)),
        (UsageError, "'subject', and an example", adapter.learn, replace(found, items=empty)),
        (UsageError, "share of tokens is 0", keep_tokens, np.zeros((2, 4)), 0.0),
        (UsageError, "share of tokens is 1.5", keep_tokens, np.zeros((2, 4)), 1.5),
        (ModelError, "share is 0", Private.attach, Tokens(), {"share": 0.0}),
        (ModelError, "shows none", Private.attach, FakeEncoder(), {"grid": 2}),
        (UsageError, "labelled clips alone", PrivateLearner().fit, None, AdaptTask(Method())),
    ]
    for error, says, call, *arguments in rows:
        refused(error, says, call, *arguments)


def test_a_library_holds_the_private_vectors_and_nothing_else(tmp_path: Path):
    items: list[SupportItem] = []
    for number in range(6):
        picture = np.full((32, 32, 3), (200, 30, 30) if number % 2 else (30, 30, 200), np.uint8)
        picture[: 8 + 3 * number] = 60
        file = tmp_path / f"{number}.mp4"
        videos.make_video(file, 8, picture=lambda _, p=picture: p)
        person = PEOPLE[number // 2]
        facts = {"subject": person}
        items.append(SupportItem(file, None, (ACTIONS[number % 2],), person, facts=facts))
    how = {"share": 0.5, "removal": "erase"}
    support = Support(tuple(sorted(ACTIONS)), tuple(items), tmp_path)
    model = Model(Tokens()).adapt(support, method="private", settings=how)
    files = [item.path for item in items]
    with Library(tmp_path / "all.vlar", model) as library:
        assert library.add(files).added == len(files)
    core = ModelCore(model.encoder)
    spans = core.encode_spans(core.view_sampler.sample_each((file, None) for file in files))
    wanted = np.stack([span.encoded.vector for span in spans])
    with sqlite3.connect(tmp_path / "all.vlar" / "library.sqlite") as data:
        rows = [row for (row,) in data.execute("SELECT vector FROM rows")]
        assert data.execute("SELECT count(*) FROM contexts").fetchone() == (0,)
        tables = {row[0] for row in data.execute("SELECT name FROM sqlite_master")}
        columns = {row[1] for row in data.execute("PRAGMA table_info(rows)")}
    kept = np.stack([np.frombuffer(row, np.float16) for row in rows])
    assert kept.shape == wanted.shape
    assert np.abs(kept[:, None] - wanted[None]).max(axis=2).min(axis=1).max() < 2e-3
    assert columns == {"id", "video_id", "start_s", "end_s", "vector", "checksum", "track", "box"}
    assert not any("feature" in name or "thumb" in name for name in tables)
