"""What every wrapper must keep of what it wraps, over all encoders and adapters.

An adapter is attached to every encoder that loads offline; where it does not suit one, it says so.
"""

from __future__ import annotations

import pytest

from tests.unit.encoders.clip import models
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.adapters.base import Adapter
from vlar.encoders.base import Encoder, FrameBlock, load_encoder
from vlar.encoders.beside import ATTRIBUTES, Beside, copy_attributes
from vlar.errors import ModelError
from vlar.types import Clip, Float32

OWN = {"name", "fingerprint"}


def specs() -> list[str]:
    """Registered encoders that load without a file; a CLIP is saved for those that need one."""
    made = [name for name in registry.names("encoder") if name != "openclip"]
    return ["clip", *(n for n in made if argument(n) is not None)]


def argument(name: str) -> str | None:
    return getattr(registry.get("encoder", name), "contract_argument", "")


@pytest.fixture(scope="module", params=specs())
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    if request.param == "clip":
        folder = tmp_path_factory.mktemp("clip")
        models.save_openclip(folder, models.openclip_config(quick_gelu=True))
        return load_encoder(f"openclip:{folder}")
    given = argument(request.param)
    try:
        return load_encoder(f"{request.param}:{given}" if given else request.param)
    except ModelError as error:
        pytest.skip(str(error))  # its weights are not installed


@pytest.mark.parametrize("name", registry.names("adapter"))
def test_an_adapter_keeps_what_the_encoder_states(name: str, encoder: Encoder):
    part: type[Adapter] = registry.get("adapter", name)
    try:
        adapter = part.attach(encoder)
    except ModelError as error:
        pytest.skip(str(error))
    changed = OWN | part.changes
    for attribute in set(ATTRIBUTES) - changed:
        assert getattr(adapter, attribute) == getattr(encoder, attribute), attribute
    if "n_frames" not in changed:
        assert adapter.sampling == encoder.sampling
        assert adapter.feature_rows == encoder.feature_rows


def test_attributes_are_those_of_the_contract():
    assert {"fixed_rows", "longest_s", "fps", "max_frames", "per_clip"} <= set(ATTRIBUTES)
    assert {"logit_scale", "templates", "descriptions", "trained_labels"} <= set(ATTRIBUTES)
    assert "cpu_only" not in ATTRIBUTES


def test_a_signal_has_its_own_rows_under_an_adapter():
    imu = load_encoder("imu")
    adapter = registry.get("adapter", "temporal").attach(imu)
    assert adapter.feature_rows == imu.feature_rows == 64


class Unusual(FakeEncoder):
    """Another value than the default of every attribute."""

    def __init__(self) -> None:
        values = {"fps": 3.0, "max_frames": 5, "per_clip": True, "fixed_rows": 7, "longest_s": 2.0,
                  "frames_fixed": True, "templates": "video", "two_roles": True,
                  "trained_labels": ("a",), "licence": "mine", "modality": "wrist"}  # fmt: skip
        vars(self).update(values)


class Lengths(Beside):
    """One number next to the features: the length of a clip."""

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """(T, 1)."""
        return 0 * features[:, :1] + clip.window.duration_s


def test_what_adds_features_keeps_the_rest():
    encoder = Unusual()
    wide = Lengths(encoder, [FrameBlock("length", 1, "signal")], "length")
    for name in set(ATTRIBUTES) - {"frame_dim", "frame_blocks", "fingerprint"}:
        assert getattr(wide, name) == getattr(encoder, name), name
    assert wide.frame_dim == encoder.frame_dim + 1
    assert [block.name for block in wide.frame_blocks] == ["look", "flow", "length"]
    assert wide.fingerprint != encoder.fingerprint
    assert Lengths(encoder, [], "length").fingerprint == encoder.fingerprint


def test_nothing_is_left_out():
    encoder, other = Unusual(), FakeEncoder()
    copy_attributes(other, encoder)
    stated = [[getattr(each, name) for name in ATTRIBUTES] for each in (other, encoder)]
    assert stated[0] == stated[1]
