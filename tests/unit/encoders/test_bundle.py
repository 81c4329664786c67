"""Encoders of several sensors as one: weights, features, and a sensor that is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.bundle import PRESENCE, BundleEncoder, parts_of, without
from vlar.encoders.fused import joined
from vlar.errors import LibraryError, UsageError
from vlar.heads.concept_heads import make_scorer
from vlar.library.manifest import LibraryManifest
from vlar.media.lookup import reader
from vlar.model.model import Model
from vlar.types import Clip, Window

SENSORS = ("skeleton", "imu")


@pytest.fixture(scope="module")
def both() -> BundleEncoder:
    found = load_encoder("skeleton+imu?weight=2")
    assert isinstance(found, BundleEncoder)
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader("bundle").example(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def clip(both: BundleEncoder, path: Path) -> Clip:
    return reader("bundle").read_clip(path, None, both.sampling)


def alone(both: BundleEncoder) -> dict[str, Encoder]:
    return {part.modality: part for part in both.parts}


def test_names_are_the_same_encoder(both: BundleEncoder):
    assert both.name == "bundle:skeleton+imu?weight=2"
    spelled = load_encoder("bundle:skeleton+imu?weight=2")
    assert spelled.fingerprint == both.fingerprint == joined(both.parts, [1.0, 2.0]).fingerprint
    assert load_encoder("bundle:skeleton").name == "bundle:skeleton"
    assert both.modality == "bundle"
    assert both.sampling.sensors == tuple((p.modality, p.sampling) for p in both.parts)


def test_blocks_have_the_weights_of_joined_encoders(both: BundleEncoder):
    scales = [part.logit_scale * factor for part, factor in zip(both.parts, (1, 2), strict=True)]
    assert both.logit_scale == pytest.approx(sum(scales))
    weights = [both.blocks[0].weight ** 2, both.blocks[2].weight ** 2]
    np.testing.assert_allclose(weights, np.array(scales) / sum(scales), rtol=1e-6)


def test_a_vector_adds_the_logits_of_the_parts(both: BundleEncoder, clip: Clip):
    texts = ["a person waves", "a person jumps"]
    logits = both.logit_scale * both.encode_text(texts) @ both.encode([clip])[0].vector
    wanted = sum(
        factor * part.logit_scale * part.encode_text(texts)
        @ part.encode([clip.parts[part.modality]])[0].vector
        for part, factor in zip(both.parts, (1, 2), strict=True)
    )  # fmt: skip
    np.testing.assert_allclose(logits, wanted, rtol=1e-4)


def test_features_are_those_of_the_parts_and_the_presence(both: BundleEncoder, clip: Clip):
    (row,) = both.encode([clip])
    assert row.features.shape == (both.feature_rows, both.frame_dim)
    start = 0
    for part in both.parts:
        (own,) = part.encode([clip.parts[part.modality]])
        wide = row.features[:, start : start + part.frame_dim]
        np.testing.assert_array_equal(wide, own.features)
        start += part.frame_dim
    assert both.frame_blocks[-1].kind == PRESENCE
    np.testing.assert_array_equal(row.features[:, start:], 1)
    np.testing.assert_array_equal(both.pool(row.features[None])[0], row.vector)


@pytest.mark.parametrize("lost", SENSORS)
def test_a_missing_sensor_is_as_if_it_were_not_listed(
    both: BundleEncoder, clip: Clip, path: Path, lost: str
):
    rest = next(name for name in SENSORS if name != lost)
    (row,) = both.encode([without(clip, [lost])])
    listed = json.loads(path.read_text())
    other = path.with_name(f"{rest}.bundle.json")
    other.write_text(json.dumps({rest: listed[rest]}))
    window = reader("bundle").probe(path)
    found = reader("bundle").read_clip(other, Window(0, window.duration_s), both.sampling)
    for same in (found, found.parts[rest]):
        (again,) = both.encode([same])
        np.testing.assert_array_equal(again.features, row.features)
        np.testing.assert_array_equal(again.vector, row.vector)
    part = alone(both)[rest]
    (own,) = part.encode([clip.parts[rest]])
    at = both.places[SENSORS.index(rest)]
    np.testing.assert_array_equal(row.vector[at], own.vector)  # bit for bit
    assert not np.delete(row.vector, range(at.start, at.stop)).any()
    presence = row.features[:, -2:]
    np.testing.assert_array_equal(presence, np.tile([rest == name for name in SENSORS], (64, 1)))
    np.testing.assert_array_equal(both.pool(row.features[None])[0], row.vector)


@pytest.mark.parametrize("mode", ["one", "multi"])
@pytest.mark.parametrize("lost", SENSORS)
def test_without_a_sensor_words_are_as_sure_as_the_others_alone(
    both: BundleEncoder, clip: Clip, lost: str, mode: str
):
    rest = next(name for name in SENSORS if name != lost)
    texts, bank = ["a person waves", "a person jumps"], ["sitting", "running", "sleeping"]
    part = alone(both)[rest]
    scores = [
        make_scorer(
            encoder.encode_text(texts), encoder.encode_text(bank), mode=mode,
            logit_scale=scale, parts=getattr(encoder, "part_shares", ()),
        ).score(encoder.encode([shown])[0].vector[None])
        for encoder, shown, scale in (
            (both, without(clip, [lost]), both.logit_scale),
            (part, clip.parts[rest], both.logit_scale * both.part_shares[SENSORS.index(rest)][1]),
        )
    ]  # fmt: skip
    np.testing.assert_allclose(scores[0].probability, scores[1].probability, atol=1e-5)
    np.testing.assert_allclose(scores[0].unknown, scores[1].unknown, atol=1e-5)


def test_a_clip_gives_the_same_in_any_company(both: BundleEncoder, clip: Clip):
    several = [without(clip, ["imu"]), clip, without(clip, ["skeleton"])]
    names = [block.name for block in both.blocks]
    blocks = both.encode_blocks(several, names)
    for one, row, own in zip(several, both.encode(several), blocks, strict=True):
        (again,) = both.encode([one])
        np.testing.assert_array_equal(again.vector, row.vector)
        np.testing.assert_array_equal(again.features, row.features)
        np.testing.assert_allclose(own, row.vector, atol=1e-6)
        session = both.session(features=False).encode([one])[0]
        np.testing.assert_array_equal(session.vector, row.vector)


def test_a_bundle_of_one_part_is_the_part(path: Path):
    one, plain = load_encoder("bundle:imu"), load_encoder("imu")
    whole = reader("bundle").read_clip(path, None, one.sampling)
    (row,), (own,) = one.encode([whole]), plain.encode([whole.parts["imu"]])
    np.testing.assert_array_equal(row.vector, own.vector)
    np.testing.assert_array_equal(row.features[:, :-1], own.features)
    texts = ["a hand waves", "🏊 qqq"]
    np.testing.assert_allclose(one.encode_text(texts), plain.encode_text(texts), atol=1e-6)


def test_no_text_is_without_a_vector(both: BundleEncoder):
    assert np.linalg.norm(both.encode_text(["🏊 qqq"])) == pytest.approx(1, abs=1e-5)


def test_other_sensors_are_refused(both: BundleEncoder, clip: Clip):
    other = replace(clip, parts={"audio": clip.parts["imu"]})
    says = "it holds audio, and the model reads skeleton and imu"
    refused(UsageError, says, both.encode, [clip, other])
    refused(UsageError, "no sensor is left", without, clip, SENSORS)
    twice = [both.parts[1], both.parts[0], both.parts[1]]
    refused(UsageError, "one encoder of each sensor", joined, twice)
    refused(UsageError, "twice", load_encoder, "bundle:imu+imu")
    assert parts_of(clip.parts["imu"]) == {"imu": clip.parts["imu"]}


def test_a_library_keeps_how_each_sensor_is_sampled():
    three = load_encoder("bundle:skeleton+imu+lite-objects")
    manifest = LibraryManifest.new(Model(three).words, three.name, None, None)
    meta = manifest.to_meta()
    again = LibraryManifest.from_meta(meta, "lib")
    kept = again.spec.sampling.sensors if again else ()
    wanted = three.sampling.sensors
    assert [(n, s.n_frames, s.fps, s.shorter_side) for n, s in kept] == [
        (n, s.n_frames, s.fps, s.shorter_side) for n, s in wanted
    ]
    for damaged in ("x", "[1]", '[["imu", 0, null, null, null, false]]', '[["imu", 1]]'):
        says = "damaged .its manifest: sensors is"
        refused(LibraryError, says, LibraryManifest.from_meta, {**meta, "sensors": damaged}, "lib")
