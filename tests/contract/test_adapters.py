"""What every registered adapter must keep to, on a tiny random CLIP.

An adapter that cannot be attached to a CLIP says so with ``contract_base = None``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.clips import contexts_of, features_of, vectors_of
from tests.unit.encoders.clip import models
from vlar import registry
from vlar.adapters.base import VIEWS, Adapter, conditions_text
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.towers import weights_hash
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UnknownNameError

TEXTS = ["riding a bike", "cooking", "opening the door"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    loaded = load_encoder(f"openclip:{folder}")
    assert isinstance(loaded, TorchEncoder)
    return loaded


@pytest.fixture(scope="module", params=registry.names("adapter"))
def part(request: pytest.FixtureRequest) -> type[Adapter]:
    part = registry.get("adapter", request.param)
    if getattr(part, "contract_base", "clip") is None:
        pytest.skip(f"{request.param} does not attach to a CLIP")
    return part


@pytest.fixture(scope="module")
def adapter(part: type[Adapter], encoder: TorchEncoder) -> Adapter:
    return part.attach(encoder)


def pictures(n: int, t: int) -> Any:
    coarse = np.random.default_rng(0).integers(0, 256, (n, t, 5, 6, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3)


def test_it_keeps_the_encoder_contract(adapter: Adapter):
    features = features_of(adapter, pictures(2, 4))
    assert features.shape == (2, 4, adapter.frame_dim)
    for vectors in (adapter.pool(features), adapter.encode_text(TEXTS)):
        assert vectors.shape[1] == adapter.dim
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert sum(block.width for block in adapter.blocks) == adapter.dim
    assert adapter.max_tokens > 2
    assert adapter.licence
    assert adapter.count_tokens("riding a bike") < adapter.max_tokens


def test_a_window_is_the_same_alone_and_in_company(adapter: Adapter):
    frames = pictures(3, 4)
    together = vectors_of(adapter, frames)
    for i in range(3):
        np.testing.assert_array_equal(vectors_of(adapter, frames[i : i + 1])[0], together[i])


def test_the_encoder_never_changes(adapter: Adapter, encoder: TorchEncoder):
    before = weights_hash(encoder.towers.model)
    vectors_of(adapter, pictures(1, 4))
    adapter.encode_text(TEXTS)
    adapter.load_state_dict(adapter.state_dict())
    assert weights_hash(encoder.towers.model) == before


def test_it_is_built_again_from_settings_and_state(
    part: type[Adapter], adapter: Adapter, encoder: TorchEncoder
):
    again = part.attach(encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    frames = pictures(1, 4)
    np.testing.assert_allclose(vectors_of(again, frames), vectors_of(adapter, frames), atol=1e-5)
    np.testing.assert_allclose(again.encode_text(TEXTS), adapter.encode_text(TEXTS), atol=1e-5)


def tunes_towers(settings: dict[str, Any]) -> bool:
    inner = [value for value in settings.values() if isinstance(value, dict)]
    return bool(settings.get("tune_towers")) or any(map(tunes_towers, inner))


def test_its_state_is_its_own(adapter: Adapter, encoder: TorchEncoder):
    if adapter.learner == "attached":
        assert not adapter.state_dict()  # nothing to learn
        return
    own = sum(array.size for array in adapter.state_dict().values())
    whole = sum(p.numel() for p in encoder.towers.model.parameters())
    copied = whole if tunes_towers(adapter.settings) else 0
    assert own > 0
    assert 0 <= own - copied < whole / 2


def test_a_wrong_state_is_refused(adapter: Adapter):
    with pytest.raises(ModelError):
        adapter.load_state_dict({"no_such_part": np.zeros(1)})
    if adapter.state_dict():
        with pytest.raises(ModelError):
            adapter.load_state_dict({})


def test_an_unknown_setting_is_refused(part: type[Adapter], encoder: TorchEncoder):
    with pytest.raises(UnknownNameError):
        part.attach(encoder, {"no_such_setting": 1})


def test_what_it_needs_is_said_and_checked(part: type[Adapter]):
    class Nothing:
        name, per_clip = "nothing", True

    assert set(part.needs) <= set(VIEWS)
    if part.needs:
        with pytest.raises(ModelError, match="'nothing'"):
            part.attach(Nothing())  # type: ignore[arg-type]


def test_conditioned_text(adapter: Adapter):
    conditioned = conditions_text(adapter)
    if conditioned is None:
        pytest.skip("its text does not depend on the video")
    context = contexts_of(adapter, pictures(2, 4)).astype(np.float16)
    words = conditioned.conditioned_text(TEXTS, context)
    assert words.shape == (2, 3, adapter.dim)
    np.testing.assert_allclose(np.linalg.norm(words, axis=2), 1, atol=1e-5)
