"""The temporal adapter behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlar.adapters.frame_inputs import chosen
from vlar.adapters.temporal.config import TemporalConfig
from vlar.adapters.towers import ResidualTower
from vlar.adapters.trainable import TextVectors, fixed_vectors
from vlar.encoders.base import Encoder, FrameBlock
from vlar.registry import register

if TYPE_CHECKING:
    from vlar.adapters.temporal.network import TemporalNetwork


@register("adapter", "temporal")
class Temporal(ResidualTower):
    """A small transformer over T frame vectors, whose answer is added to the window vector.

    It reads the frame features alone, so it works on every encoder, and they can be computed once.
    Learned prompts and the frames themselves read the frames; a time position tells first from
    last. Until it is trained the window vectors are the encoder's own. Texts stay as they are,
    except those of the labels it was trained for.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "temporal", TemporalConfig
    network: TemporalNetwork
    config: TemporalConfig

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """The blocks of the settings; without any those that describe motion."""
        return chosen(encoder.frame_blocks, config.blocks)

    def prepare(self) -> None:
        """A training may leave out the inputs of one block at a time."""
        self.input_widths = [self.config.components] * len(self._blocks)

    def build(self) -> TemporalNetwork:
        """The transformer at its start."""
        from vlar.adapters.temporal.network import TemporalNetwork

        return TemporalNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """See ``Trainable``; only the texts of labels are trained."""
        return fixed_vectors(self.encoder.encode_text(texts))
