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


def classes() -> list[type[Adapter]]:
    """Registered adapters without their presets, which differ in settings alone."""
    parts = [registry.get("adapter", name) for name in registry.names("adapter")]
    return [part for part in parts if not part.preset_settings]


SPECS = specs()  # before a test registers one of its own


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    """Every encoder of ``specs`` whose weights are installed."""
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    loaded = {"clip": load_encoder(f"openclip:{folder}")}
    for name in SPECS[1:]:
        given = argument(name)
        try:
            loaded[name] = load_encoder(f"{name}:{given}" if given else name)
        except ModelError:
            continue
    return loaded


@pytest.mark.parametrize("part", classes(), ids=lambda part: part.method)
def test_an_adapter_keeps_what_the_encoder_states(
    part: type[Adapter], encoders: dict[str, Encoder]
):
    suited = [name for name in encoders if keeps(part, encoders[name])]
    if part.contract_base in encoders:
        assert part.contract_base in suited


def keeps(part: type[Adapter], encoder: Encoder) -> bool:
    """Whether an adapter suits an encoder; it states then what the encoder states."""
    try:
        adapter = part.attach(encoder)
    except ModelError:
        return False
    changed = OWN | part.changes
    for attribute in set(ATTRIBUTES) - changed:
        assert getattr(adapter, attribute) == getattr(encoder, attribute), attribute
    if "n_frames" not in changed:
        assert adapter.sampling == encoder.sampling
        assert adapter.feature_rows == encoder.feature_rows
    return True


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
