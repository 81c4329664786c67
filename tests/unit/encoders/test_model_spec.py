"""The name of a model is parsed once, into one object that every floor reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import refused
from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.encoders.model_spec import ModelPart, ModelSpec
from vlar.errors import UnknownNameError, UsageError


@pytest.mark.parametrize(
    ("text", "parts", "is_bundle"),
    [
        ("lite", [("lite", "", 1.0)], False),
        ("tc-clip:a.pth?base=openclip:b", [("tc-clip", "a.pth?base=openclip:b", 1.0)], False),
        ("lite+motion?weight=2", [("lite", "", 1.0), ("motion", "", 2.0)], False),
        ("bundle:skeleton+imu?weight=0.5", [("skeleton", "", 1.0), ("imu", "", 0.5)], True),
        ("bundle:imu", [("imu", "", 1.0)], True),
        ("hf:/a+b/c+motion", [("hf", "/a+b/c", 1.0), ("motion", "", 1.0)], False),
    ],
)
def test_a_name_is_parts(text: str, parts: list[tuple[str, str, float]], is_bundle: bool):
    spec = ModelSpec.parse(text)
    assert spec.parts == tuple(ModelPart(*part) for part in parts)
    assert (spec.is_bundle, spec.folder, str(spec)) == (is_bundle, None, text)
    assert ModelSpec.parse(str(spec)) == spec  # a round trip
    assert ModelSpec.parse(spec) is spec  # parsed once
    assert ModelSpec.parse("+".join(map(str, spec.parts))).parts == spec.parts or is_bundle


def test_an_alias_is_replaced_where_a_name_enters():
    (part,) = ModelSpec.parse("siglip2?precision=bfloat16").parts
    assert part.name == "hf"
    assert part.argument.startswith("google/siglip2-base-patch16-224?revision=")
    assert part.argument.endswith("&precision=bfloat16")


def test_a_folder_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert ModelSpec.parse("mine").folder == Path("mine")
    assert ModelSpec.parse("./mine").parts == ()
    assert ModelSpec.parse(Path("imu")).folder == Path("imu")
    # The control: what a manifest states is never a folder.
    assert ModelSpec.parse("mine", folders=False).folder is None


def test_one_loader_of_named_parts():
    refused(UnknownNameError, "did you mean 'motion'", registry.load, "detector", "motoin")
    refused(UnknownNameError, "did you mean 'concepts'", registry.load, "captioner", "concept")
    refused(UnknownNameError, "did you mean 'tc-clip'", registry.load, "adapter", "tcclip:x")
    refused(UnknownNameError, "did you mean 'encoder'", registry.load, "encodre", "lite")
    refused(UsageError, "takes no device, got 'cpu'", _load_on, "detector", "motion", "cpu")
    refused(UsageError, "'lite' or see 'vlar models'", load_encoder, " ")
    for kind in ("answerer", "detector", "captioner", "describer"):
        refused(UsageError, f"the {kind} is empty; use", registry.load, kind, " ")


def _load_on(kind: str, name: str, device: str) -> object:
    return registry.load(kind, name, device=device)
