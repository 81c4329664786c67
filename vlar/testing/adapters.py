"""The contract of an adapter, as a check; it is attached to a tiny CLIP with random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.adapters.base import Adapter, conditions_text
from vlar.adapters.views import VIEWS
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UnknownNameError
from vlar.media.lookup import reader
from vlar.testing import encoders
from vlar.testing.contract import lengths_are_one, refused, registered, run, same, skip
from vlar.testing.material import AdapterMaterial, frozen_hash, save_tiny_clip
from vlar.testing.readers import example_of
from vlar.training.trainable import Trainable
from vlar.types import Clip

TEXTS = ("riding a bike", "cooking", "opening the door")
_CLIP = "clip"


def check_adapter(
    part: Any, *, encoder: Encoder | str | None = None, recording: str | Path | None = None
) -> None:
    """Try an adapter on clips, and train it where it can be trained.

    Args:
        part: The adapter: a class, or a registered name.
        encoder: What it is attached to, or the spec of it; default ``contract_base`` of the
            adapter, which is a tiny CLIP unless it names an encoder that loads offline.
        recording: A recording of the sensor of the encoder; default a generated one.

    Raises:
        AssertionError: it breaks the contract of ``vlar.adapters.base.Adapter``, or of
            ``vlar.training.trainable.Trainable``.
        unittest.SkipTest: its ``contract_base`` is None.
    """
    adapters: dict[str, Any] = registry.loaded.get("adapter", {})
    name = (
        part
        if isinstance(part, str)
        else next(
            (one for one, other in adapters.items() if other is part), getattr(part, "method", "")
        )
    )
    cls: type[Adapter] = registry.get("adapter", part) if isinstance(part, str) else part
    if encoder is None and cls.contract_base is None:
        raise skip(f"adapter {name!r} has no base to try it on; give the check an encoder")
    with tempfile.TemporaryDirectory() as scratch, registered("adapter", name, cls):
        folder = Path(scratch)
        if not isinstance(encoder, Encoder):
            spec = encoder or str(cls.contract_base)
            encoder = load_encoder(save_tiny_clip(folder / _CLIP) if spec == _CLIP else spec)
        clips = _clips(encoder, folder, recording)
        run("adapter", name, DESCRIPTION, cls)
        material = AdapterMaterial(name, cls, encoder, cls.attach(encoder), clips, folder)
        run("adapter", name, STEPS, material)
        if issubclass(cls, Trainable):
            from vlar.testing import trainables  # it imports torch

            run("adapter", name, trainables.STEPS, material)


def _clips(encoder: Encoder, folder: Path, recording: str | Path | None) -> list[Clip]:
    if encoder.modality == "video" and recording is None:
        coarse = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 6, 3), dtype=np.uint8)
        return encoders.clips_of_frames(np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3))
    source = reader(encoder.modality)
    path = Path(recording) if recording is not None else example_of(source, folder / "a")
    return encoders.clips_of(encoder, path)


def _needs(cls: type[Adapter]) -> None:
    """Views that it needs are stated, and an encoder without them is refused by name."""

    class Nothing:
        name, per_clip, frame_blocks = "nothing", True, ()

    assert set(cls.needs) <= set(VIEWS), f"needs {cls.needs}"
    if cls.needs:
        refused(ModelError, "'nothing'", cls.attach, Nothing())


def _contract(m: AdapterMaterial) -> None:
    """An adapter is an encoder: features of its width, vectors and texts of length 1, blocks."""
    adapter, clips = m.adapter, m.clips[:2]
    rows = adapter.encode(clips)
    for clip, row in zip(clips, rows, strict=True):
        shape = (encoders.rows_of(adapter, len(clip.data)), adapter.frame_dim)
        assert row.features.shape == shape, f"features {row.features.shape}"
    features = np.stack([row.features for row in rows])
    for vectors in (adapter.pool(features), adapter.encode_text(TEXTS)):
        assert vectors.shape[1] == adapter.dim
        assert vectors.dtype == np.float32
        lengths_are_one(vectors)
    assert sum(block.width for block in adapter.blocks) == adapter.dim
    assert adapter.max_tokens > 2
    assert adapter.licence
    assert adapter.count_tokens("riding a bike") < adapter.max_tokens


def _alone(m: AdapterMaterial) -> None:
    """A clip is the same alone and in a batch, since batches are cut by chance."""
    together = m.vectors(m.clips)
    for number, clip in enumerate(m.clips):
        same(m.vectors([clip])[0], together[number], m.encoder)


def _frozen(m: AdapterMaterial) -> None:
    """The encoder never changes, since others share it."""
    before, plain = frozen_hash(m.encoder), m.encoder.encode(m.clips[:1])[0].vector
    m.vectors(m.clips[:1])
    m.adapter.encode_text(TEXTS)
    m.adapter.load_state_dict(m.adapter.state_dict())
    assert frozen_hash(m.encoder) == before
    np.testing.assert_array_equal(m.encoder.encode(m.clips[:1])[0].vector, plain)


def _again(m: AdapterMaterial) -> None:
    """Adapters are built again from their settings and their state, as a saved model is."""
    again = m.cls.attach(m.encoder, m.adapter.settings)
    again.load_state_dict(m.adapter.state_dict())
    assert again.fingerprint == m.adapter.fingerprint
    one, other = m.vectors(m.clips[:1], again), m.vectors(m.clips[:1])
    np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(again.encode_text(TEXTS), m.adapter.encode_text(TEXTS), atol=1e-5)


def _state(m: AdapterMaterial) -> None:
    """The state is its own: none where nothing is learned, and no copy of the frozen towers."""
    if m.adapter.learner == "attached":
        assert not m.adapter.state_dict()
        return
    size = sum(array.size for array in m.adapter.state_dict().values())
    assert size > 0
    if isinstance(m.encoder, TorchEncoder):
        whole = sum(p.numel() for p in m.encoder.towers.model.parameters())
        copied = whole if tunes_towers(m.adapter.settings) else 0
        assert 0 <= size - copied < whole / 2, f"{size} numbers of {whole}"


def tunes_towers(settings: dict[str, Any]) -> bool:
    """Return whether settings ask for trained copies of the towers."""
    inner = [value for value in settings.values() if isinstance(value, dict)]
    return bool(settings.get("tune_towers")) or any(map(tunes_towers, inner))


def _refusals(m: AdapterMaterial) -> None:
    """A state of another adapter and unknown settings are refused."""
    refused(ModelError, "", m.adapter.load_state_dict, {"no_such_part": np.zeros(1)})
    if m.adapter.state_dict():
        refused(ModelError, "", m.adapter.load_state_dict, {})
    refused(UnknownNameError, "", m.cls.attach, m.encoder, {"no_such_setting": 1})


def _conditioned(m: AdapterMaterial) -> None:
    """Text that depends on the clip has a vector of length 1 for each clip and text."""
    conditioned = conditions_text(m.adapter)
    if conditioned is None:
        return
    tokens = [row.context for row in m.adapter.encode(m.clips[:2]) if row.context is not None]
    words = conditioned.conditioned_text(TEXTS, np.stack(tokens).astype(np.float16))
    assert words.shape == (2, 3, m.adapter.dim)
    lengths_are_one(words)


DESCRIPTION = (_needs,)
STEPS = (_contract, _alone, _frozen, _again, _state, _refusals, _conditioned)
