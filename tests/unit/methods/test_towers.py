"""The base of towers, by a tower that reads rows of its own next to the encoder's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.clips import clips_of
from tests.unit.training.fakes import LABELS, FakeEncoder, T
from vlar.adapters.settings import Settings, setting
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.errors import ModelError, UnknownNameError
from vlar.training.tower_network import ResidualNetwork, register_directions, zero_linear
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch
from vlar.types import Clip, Float32

MASKED = 2  # a number and whether it is there


@dataclass(frozen=True)
class RedConfig(Settings):
    """How many pixels are read of each frame."""

    pixels: int = setting(3, at_least=1, at_most=8)
    components: int = setting(4, at_least=1)
    width: int = setting(8, at_least=1)
    heads: int = setting(2, at_least=1)
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "red setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        self.require_multiple(self.width, self.heads)


class RedPixels(Beside):
    """The red of some pixels, with a mask."""

    def __init__(self, encoder: Encoder, pixels: int) -> None:
        block = FrameBlock("red", MASKED * pixels, "signal")
        self.pixels = pixels
        super().__init__(encoder, [block], f"red {pixels}")

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """(T, 2 pixels)."""
        red = clip.data[:, 0, : self.pixels, 0].astype(np.float32) / 255
        return np.concatenate([red, (red > 0).astype(np.float32)], axis=1)


class RedNetwork(ResidualNetwork):
    """A linear layer of the mean frame."""

    def __init__(self, config: RedConfig, n_inputs: int, dim: int, sizes: list[int]) -> None:
        super().__init__()
        register_directions(self, sizes, config.components)
        self.enter, self.leave = nn.Linear(n_inputs, config.width), zero_linear(config.width, dim)
        self.register_labels(len(config.labels), dim)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to (N, D)."""
        return self.leave(self.enter(inputs).tanh().mean(dim=1))


class Red(ResidualTower):
    """All that a tower writes."""

    method, config_type = "red", RedConfig

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder with red pixels."""
        return RedPixels(encoder, config.pixels)

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """The rows of its own alone, behind those of the encoder."""
        return [(encoder.frame_dim, FrameBlock("red", MASKED * config.pixels, "signal"))]

    def build(self) -> RedNetwork:
        """The layer."""
        return RedNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)


def clips(n: int = 4) -> list[Clip]:
    frames = np.random.default_rng(0).integers(0, 256, (n, T, 8, 8, 3), dtype=np.uint8)
    frames[::2, ..., 0] = 0
    return clips_of(frames)


def features(tower: Red) -> Float32:
    return np.stack([row.features for row in tower.encode(clips())])


def trained() -> Red:
    tower = Red.attach(FakeEncoder())
    tower.fit_inputs(features(tower))
    classes = tower.training_classes(LABELS)
    optimiser = torch.optim.AdamW([p for _, p in tower.trainable()], lr=0.05)
    inputs = torch.from_numpy(tower.training_inputs(features(tower)))
    targets = torch.eye(2)[[0, 1, 0, 1]]
    for _ in range(30):
        optimiser.zero_grad()
        tower.training_step(TrainingBatch(inputs, targets), classes).losses["total"].backward()
        optimiser.step()
    tower.network.requires_grad_(False)
    tower.refresh()
    return tower


def test_at_the_start_it_is_the_encoder_with_more_features():
    encoder = FakeEncoder()
    tower = Red.attach(encoder)
    tower.training_classes(LABELS)
    assert tower.frame_dim == encoder.frame_dim + 6
    assert Red.reading(encoder, {}).fingerprint == tower.source.fingerprint != encoder.fingerprint
    for ours, theirs in zip(tower.encode(clips()), encoder.encode(clips()), strict=True):
        np.testing.assert_array_equal(ours.vector, theirs.vector)
        np.testing.assert_array_equal(ours.features[:, :12], theirs.features)
    np.testing.assert_array_equal(tower.encode_text(LABELS), encoder.encode_text(LABELS))


def test_it_learns_from_its_own_rows_and_moves_the_texts_of_its_labels():
    tower = trained()
    scores = tower.pool(features(tower)) @ tower.encode_text(LABELS).T
    assert scores.argmax(axis=1).tolist() == [0, 1, 0, 1]
    plain = FakeEncoder().encode_text([*LABELS, "else"])
    moved = tower.encode_text([*LABELS, "else"])
    assert not np.allclose(moved[:2], plain[:2])
    np.testing.assert_array_equal(moved[2], plain[2])
    blind = features(tower).copy()
    blind[..., 12:] = 0
    assert not np.allclose(tower.pool(blind), tower.pool(features(tower)))


def test_it_is_built_again_from_settings_and_state():
    tower = trained()
    again = Red.attach(FakeEncoder(), tower.settings)
    again.load_state_dict(tower.state_dict())
    assert again.fingerprint == tower.fingerprint
    np.testing.assert_array_equal(again.pool(features(tower)), tower.pool(features(tower)))
    other = Red.attach(FakeEncoder(), {**tower.settings, "pixels": 2})
    assert other.fingerprint != Red.attach(FakeEncoder(), {"labels": list(LABELS)}).fingerprint
    with pytest.raises(ModelError, match="made with other settings"):
        other.load_state_dict(tower.state_dict())


def test_a_clip_is_the_same_alone_in_company_and_in_a_session():
    tower = trained()
    together, session = tower.encode(clips()), tower.session()
    for clip, row in zip(clips(), together, strict=True):
        np.testing.assert_array_equal(tower.encode([clip])[0].vector, row.vector)
        np.testing.assert_array_equal(session.encode([clip])[0].vector, row.vector)


def test_other_labels_start_at_zero_and_the_rest_stays():
    tower = trained()
    before = tower.state_dict()
    tower.training_classes(["a", "b", "c"])
    after = tower.state_dict()
    assert after["labels"].shape == (3, 12)
    assert not after["labels"].any()
    np.testing.assert_array_equal(after["leave.weight"], before["leave.weight"])


def test_settings_are_checked_with_their_name():
    assert Red.attach(FakeEncoder()).settings["labels"] == []
    with pytest.raises(ModelError, match="red setting pixels is 9; use a whole number from 1 and"):
        Red.check_settings({"pixels": 9})
    with pytest.raises(ModelError, match=r"red setting width is 9; use a multiple of heads \(2\)"):
        Red.check_settings({"width": 9})
    with pytest.raises(UnknownNameError, match="'pixels'"):
        Red.check_settings({"pixel": 2})
