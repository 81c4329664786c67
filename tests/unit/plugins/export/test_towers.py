"""Exported towers: equal to their source, and compared with it before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.clips import clips_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.encoders.onnx import made
from vlar.encoders.base import load_encoder
from vlar.encoders.onnx import read_description
from vlar.errors import ModelError, UsageError
from vlar.plugins.export import towers
from vlar.plugins.export.towers import export
from vlar.plugins.verbs import export as verbs


def frames(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, count, 20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny SigLIP and its export."""
    pytest.importorskip("onnxscript")
    place = tmp_path_factory.mktemp("exported")
    (place / "siglip").mkdir()
    models.save_siglip(place / "siglip")
    export(load_encoder(f"hf:{place / 'siglip'}", device="cpu"), place / "onnx")
    return place / "siglip", place / "onnx"


@pytest.mark.slow
def test_an_export_gives_the_vectors_of_its_source(exported: tuple[Path, Path]):
    source, other = load_encoder(f"hf:{exported[0]}"), load_encoder(f"onnx:{exported[1]}")
    clips = clips_of(frames())
    for mine, theirs in zip(source.encode(clips), other.encode(clips), strict=True):
        np.testing.assert_allclose(mine.features, theirs.features, atol=1e-5)
        np.testing.assert_allclose(mine.vector, theirs.vector, atol=1e-5)
    texts = ["a dog", "a cat rides a bike", "", "far too many words " * 9]
    np.testing.assert_allclose(source.encode_text(texts), other.encode_text(texts), atol=1e-5)
    assert [source.count_tokens(t) for t in texts] == [other.count_tokens(t) for t in texts]
    assert source.logit_scale == pytest.approx(other.logit_scale)
    assert source.fingerprint != other.fingerprint
    assert other.licence == source.licence


@pytest.mark.slow
def test_the_check_stands_in_the_folder_and_is_needed(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert min(read_description(exported[1]).check.values()) > 0.9999
    source = load_encoder(f"hf:{exported[0]}", device="cpu")
    refused(UsageError, "exists", export, source, exported[1])
    # The control: a graph that is not the tower.
    wrong = made.image_graph(np.ones((3 * 32 * 32, source.dim), np.float32))
    wrong.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    wrong.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 32

    def faulty(module, example, name, axis, path, what):
        path.write_bytes(
            wrong.SerializeToString()
            if name == "pixels"
            else (exported[1] / path.name).read_bytes()
        )

    monkeypatch.setattr(towers, "_graph", faulty)
    refused(ModelError, "differs from the model", export, source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spec", ["lite", "onnx"])
def test_what_has_no_towers_is_refused(spec: str, tmp_path: Path):
    folder = made.write(tmp_path / "made")
    encoder = load_encoder("lite" if spec == "lite" else f"onnx:{folder}")
    refused(UsageError, "cannot be exported", export, encoder, tmp_path / "out")


def test_an_export_names_all_that_it_needs_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verbs, "is_installed", lambda _: False)
    needed = r"torch and onnx; run: pip install .*\[clip,export\]"
    refused(UsageError, needed, verbs.export, "clip", "out")
