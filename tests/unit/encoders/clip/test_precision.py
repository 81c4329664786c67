"""bf16, int8 and compiled code: near to float32, never mixed with it."""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import vlar
from tests import videos
from tests.clips import clips_of, features_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.encoders.base import load_encoder
from vlar.encoders.clip import options, precision
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import EncoderMismatchError, ModelError, UnknownNameError, UsageError
from vlar.numeric import unit
from vlar.types import Clip

TEXTS = ["riding a bike", "someone waves with both hands"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openclip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return folder


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "cpu_has_bfloat16", lambda: True)


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path_factory.getbasetemp() / "int8-cache"))


def loaded(folder: Path, dtype: str | None = None) -> TorchEncoder:
    encoder = load_encoder(f"openclip:{folder}", device="cpu", dtype=dtype)
    assert isinstance(encoder, TorchEncoder)
    return encoder


def clips(seed: int = 0) -> list[Clip]:
    frames = np.random.default_rng(seed).integers(0, 256, (3, 4, 40, 48, 3), dtype=np.uint8)
    return clips_of(frames)


def cosines(folder: Path, dtype: str) -> np.ndarray:
    exact, rough = (
        np.stack([row.features for row in loaded(folder, name).encode(clips())])
        for name in ("float32", dtype)
    )
    return (unit(exact) * unit(rough)).sum(axis=-1)


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_features_stay_near_to_those_of_float32(folder: Path, dtype: str):
    found = cosines(folder, dtype)
    assert found.min() >= 0.999
    assert found.max() < 1 - 1e-9  # it is another precision


def test_texts_of_int8_are_those_of_float32(folder: Path):
    exact, rough = loaded(folder), loaded(folder, "int8")
    np.testing.assert_array_equal(rough.encode_text(TEXTS), exact.encode_text(TEXTS))


def test_a_frame_in_int8_does_not_depend_on_its_company(folder: Path):
    encoder = loaded(folder, "int8")
    frames = np.concatenate([clip.data for clip in clips()])
    bright = np.full_like(frames[:1], 255)
    alone = features_of(encoder, frames[None, :1])
    together = features_of(encoder, np.concatenate([frames[:1], bright, frames])[None])
    np.testing.assert_array_equal(alone[0, 0], together[0, 0])


def test_short_names_and_full_names_are_one_model(folder: Path):
    short, full = loaded(folder, "bf16"), loaded(folder, "bfloat16")
    assert short.name == full.name == f"openclip:{folder}?precision=bfloat16"
    assert short.fingerprint == full.fingerprint
    again = load_encoder(short.name)
    assert again.fingerprint == short.fingerprint
    assert again.towers.dtype == torch.bfloat16


def test_auto_changes_nothing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    assert loaded(folder, "auto").name == f"openclip:{folder}"
    assert loaded(folder, "auto").fingerprint == loaded(folder).fingerprint
    monkeypatch.setenv("VLAR_CACHE", str(cache))  # where lite is prepared
    assert load_encoder("lite", dtype="auto").name == "lite"


def test_every_precision_has_a_fingerprint_of_its_own(folder: Path):
    prints = [loaded(folder, name).fingerprint for name in ("float32", "bf16", "fp16", "int8")]
    assert len(set(prints)) == 4
    assert loaded(folder, "int8").fingerprint == prints[3]


def test_an_unknown_precision_is_named(folder: Path):
    refused(UnknownNameError, r"int4.*int8", loaded, folder, "int4")
    refused(UsageError, "'lite' runs on the CPU in float32", load_encoder, "lite", dtype="bf16")
    for spec, error in (("lite", UsageError), ("onnx:nowhere", UsageError)):  # only what was given
        message = str(refused(error, "got dtype 'bf", load_encoder, spec, dtype="bf16").value)
        assert "None" not in message
    both = "got device 'cuda' and dtype 'bfloat16'; leave them out"
    refused(UsageError, both, load_encoder, "audio", "cuda", "bf16")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_a_library_is_never_mixed(folder: Path, dtype: str, tmp_path: Path):
    clip = videos.make_video(tmp_path / "a.mp4", 8, fps=4)
    spec = f"openclip:{folder}"
    with vlar.Library(tmp_path / "exact.vlar", model=vlar.load(spec)) as library:
        library.add([clip])
    rough = vlar.load(spec, dtype=dtype)
    with pytest.raises(EncoderMismatchError):
        vlar.Library(tmp_path / "exact.vlar", model=rough).add([clip])
    with pytest.raises(EncoderMismatchError):
        vlar.Library(tmp_path / "exact.vlar", model=rough).query("riding a bike")
    with vlar.Library(tmp_path / "rough.vlar", model=rough) as library:
        library.add([clip])
    with vlar.Library(tmp_path / "rough.vlar") as library:  # its own name has the precision
        library.query("riding a bike")
        assert library.info().rows
    with pytest.raises(EncoderMismatchError):
        vlar.Library(tmp_path / "rough.vlar", model=vlar.load(spec)).query("riding a bike")


def test_without_bfloat16_the_model_stays_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(options, "cpu_has_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING, "vlar"):
        encoder = loaded(folder, "bf16")
    assert [r.message for r in caplog.records if "no bfloat16" in r.message]
    assert encoder.fingerprint == loaded(folder).fingerprint
    assert encoder.name == f"openclip:{folder}"
    caplog.clear()
    with caplog.at_level(logging.WARNING, "vlar"):  # a library made in it needs the same vectors
        named = load_encoder(f"openclip:{folder}?precision=bf16")
    assert [r.message for r in caplog.records if "takes longer" in r.message]
    assert named.towers.dtype == torch.bfloat16


def test_the_cpu_says_whether_it_has_bfloat16(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    for has, capabilities in ((True, {"amx_bf16": True}), (False, {"avx512_bf16": False})):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False
        )
        assert options.cpu_has_bfloat16() is has
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert options.cpu_has_bfloat16() in (True, False)


def test_int8_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = loaded(folder, "int8")
    monkeypatch.setattr(precision, "_made", lambda *_: pytest.fail("made again"))
    second = loaded(folder, "int8")
    for one, other in zip(first.encode(clips()), second.encode(clips()), strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)


def test_a_tower_that_int8_spoils_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The check is stored with the graph, and each start reads it."""
    monkeypatch.setattr(precision, "_FOLDER", "int8-spoiled")
    monkeypatch.setattr(precision, "_least_cosine", lambda *_: 0.99)
    for _ in range(2):
        refused(ModelError, r"falls to 0\.9900 .*--dtype bf16", loaded, folder, "int8")
        monkeypatch.setattr(precision, "_made", lambda *_: pytest.fail("made again"))


def test_the_check_compares_the_towers(folder: Path):
    """Graph and tower of different weights must fail, or the check would prove nothing."""
    towers = loaded(folder).towers
    made = precision._made(towers, "a")
    (cosine,) = struct.unpack_from("<d", made)
    assert 0.999 <= cosine < 1
    session = precision.make_session(made[8:], "a")
    other = loaded(folder).twin().towers
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.manual_seed(0)))
    assert precision._least_cosine(other, session) < 0.9


def test_the_graph_has_plain_products_only(folder: Path, tmp_path: Path):
    """The quantizer leaves a product with factors in float32."""
    import onnx

    precision._export(loaded(folder).towers, tmp_path / "a.onnx")
    products = [n for n in onnx.load(str(tmp_path / "a.onnx")).graph.node if n.op_type == "Gemm"]
    factors = [a.f for node in products for a in node.attribute if a.name in ("alpha", "beta")]
    assert set(factors) <= {1.0}


def test_int8_may_be_made_where_gradients_are_off(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The towers work in place there, which a traced graph would lose."""
    monkeypatch.setattr(precision, "_FOLDER", "int8-inference")
    with torch.inference_mode():
        loaded(folder, "int8")


def test_int8_is_not_adapted_inside(folder: Path, tmp_path: Path):
    encoder = loaded(folder, "int8")
    refused(ModelError, "cannot be trained or adapted inside", encoder.towers.vision_view)
    refused(ModelError, "cannot be trained or adapted inside", encoder.twin)


def test_what_cannot_be_exported_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "_FOLDER", "int8-broken")

    def broken(*_: object) -> None:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(precision, "_export", broken)
    with pytest.raises(ModelError, match=r"cannot be written in int8 .*no such operator.*bf16"):
        loaded(folder, "int8")


def test_the_precision_of_a_saved_model_stays(folder: Path, tmp_path: Path):
    for name in ("wave", "sit"):
        (tmp_path / "support" / name).mkdir(parents=True)
        videos.make_video(tmp_path / "support" / name / "a.mp4", 6, fps=4)
    model = vlar.load(f"openclip:{folder}", dtype="int8")
    model.adapt(tmp_path / "support", method="prototype").save(tmp_path / "mine")
    manifest = json.loads((tmp_path / "mine" / "vlar.json").read_text("utf-8"))
    assert "precision=int8" in json.dumps(manifest)
    assert vlar.load(tmp_path / "mine").fingerprint == model.fingerprint
    refused(EncoderMismatchError, "", vlar.load, tmp_path / "mine", dtype="float32")


@pytest.fixture
def compiled_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    (tmp_path / "model").mkdir()
    models.save_openclip(tmp_path / "model", models.openclip_config())
    return tmp_path / "model"


@pytest.mark.slow
def test_compiled_code_gives_the_same_vectors(compiled_folder: Path, tmp_path: Path):
    eager = load_encoder(f"openclip:{compiled_folder}", device="cpu")
    fast = load_encoder(f"openclip:{compiled_folder}?compile=true", device="cpu")
    frames = np.random.default_rng(1).integers(0, 256, (2, 3, 40, 40, 3), dtype=np.uint8)
    clips = clips_of(frames)
    for mine, theirs in zip(eager.encode(clips), fast.encode(clips), strict=True):
        np.testing.assert_allclose(mine.features, theirs.features, atol=1e-5)
    assert fast.fingerprint == eager.fingerprint
    assert any((tmp_path / "cache").glob("compiled-*/*"))


def test_what_cannot_be_compiled_or_differs_is_one_line(
    compiled_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(_: object, **__: object) -> object:
        raise RuntimeError("no C++ compiler\nis here")

    monkeypatch.setattr(torch, "compile", lambda run, **_: broken)
    with pytest.raises(ModelError, match="leave compile=true out") as error:
        load_encoder(f"openclip:{compiled_folder}?compile=true", device="cpu")
    assert "\n" not in error.value.message
    # The control: compiled code that computes something else.
    monkeypatch.setattr(torch, "compile", lambda run, **_: lambda x: run(x).flip(-1))
    with pytest.raises(ModelError, match="answers otherwise"):
        load_encoder(f"openclip:{compiled_folder}?compile=true", device="cpu")
