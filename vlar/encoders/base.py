"""What every encoder offers: frames and texts in, unit vectors of one space out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vlar import registry
from vlar.errors import UsageError
from vlar.types import Clip, Encoded, Float32, Float64, Sampling, UInt8


@dataclass(frozen=True)
class Preprocess:
    """How an encoder wants its pixels.

    Attributes:
        height: Pixels.
        width: Pixels.
        mean: Per RGB channel, for values scaled to 0..1.
        std: Per RGB channel.
        fit: ``squash`` resizes the whole frame and ignores its aspect ratio; ``crop`` resizes the
            shorter side and takes the centre.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: str = "crop"


@dataclass(frozen=True)
class Block:
    """A part of the shared vector: ``vector[..., start:start + width]``.

    ``weight`` is the block's norm in a video vector that fills all blocks; ``has_text`` tells
    whether text can speak of it (else text leaves it zero).
    """

    name: str
    width: int
    weight: float
    has_text: bool


@dataclass(frozen=True)
class BlockMix:
    """What a block of a label's vector is made of where the label has descriptions.

    Attributes:
        block: Name of the block.
        kinds: Weight of ``name`` and of each kind of description (``vlar.text.bank``).
        weight: Factor on the block's length in the label's vector: a mean of several texts is less
            sharp than one, and would otherwise have less say than the other blocks.
    """

    block: str
    kinds: Mapping[str, float]
    weight: float = 1.0


@dataclass(frozen=True)
class FrameBlock:
    """A part of one frame's features, ``features[..., start:start + width]``.

    ``kind`` says how few-shot methods may use it: ``appearance`` (activations
    that are averaged over time), ``logits`` (class scores), ``motion`` (how the frame differs from
    its neighbours).
    """

    name: str
    width: int
    kind: str


class Encoder(ABC):
    """Frozen towers that map windows and texts to unit vectors of one space.

    The same input gives the same vector, alone or in a batch. Nothing here is ever trained.

    Attributes:
        name: The spec that loads this encoder again (``lite``, ``openclip:ARCH/TAG``).
        dim: D, width of the shared space.
        frame_dim: F, width of one frame's features (not always D: see ``pool``).
        n_frames: T the encoder was measured with; the default of the sampler.
        frames_fixed: True where no other T works.
        longest_s: Seconds a clip may last for T frames to show its movements; a longer span is
            looked at in parts too (``vlar.video.views``). Infinite where movements are not
            followed.
        logit_scale: Factor from cosine to logit.
        max_tokens: Longest text in tokens, special tokens included; longer text is cut.
        preprocess: Size, mean and std of the pixels; None for sensors without pictures.
        frame_blocks: Parts of the frame features, in order; widths add up to F.
        blocks: Parts of the vector; one block ``joint`` for a plain joint space.
        templates: Name of the prompt set (``prompts/``) that suits the text tower.
        descriptions: How descriptions enter a label's vector; empty where names alone are used.
        licence: Licence of the weights, for the manifest of a saved model.
        fingerprint: Hash of the weights and of every setting that changes a vector.
    """

    name: str
    dim: int
    frame_dim: int
    n_frames: int
    frames_fixed: bool = False
    longest_s: float = float("inf")
    logit_scale: float
    max_tokens: int
    preprocess: Preprocess | None = None
    frame_blocks: tuple[FrameBlock, ...]
    blocks: tuple[Block, ...]
    templates: str = "plain"
    descriptions: tuple[BlockMix, ...] = ()
    licence: str = "unknown"
    fingerprint: str

    #: Name of the reader whose clips it takes.
    modality: str = "video"

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features, vectors and, where text depends on the video, context.

        A clip gives the same alone and in company.

        Args:
            clips: N clips of ``modality``.

        Returns:
            N rows, in order.
        """
        from vlar.encoders.conditioned import ConditionedText

        if isinstance(self, ConditionedText):
            windows = [self.encode_windows(clip.data[None]) for clip in clips]
            return [
                Encoded(each.features[0], self.pool(each.features)[0], each.context[0])
                for each in windows
            ]
        features = [self.encode_clip(clip.data, clip.times_s) for clip in clips]
        return [Encoded(rows, self.pool(rows[None])[0]) for rows in features]

    @abstractmethod
    def encode_frames(self, frames: UInt8) -> Float32:
        """Frames to frame features.

        Args:
            frames: (N, T, H, W, 3) uint8 RGB in time order.

        Returns:
            (N, T, F) float32.
        """

    @abstractmethod
    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) float32 of unit length."""

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Texts to vectors (C, D) float32 of unit length; (0, D) for no text."""

    def encode_text_block(self, texts: Sequence[str], block: str) -> Float32:
        """One block (C, width) of the vectors of C texts; cheaper where blocks are made apart."""
        start = 0
        for row in self.blocks:
            if row.name == block:
                return self.encode_text(texts)[:, start : start + row.width]
            start += row.width
        raise UsageError(f"encoder {self.name!r} has no block {block!r}")

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of a text, special tokens included, before any cut."""

    def encode_clip(self, frames: UInt8, times_s: Float64) -> Float32:
        """One clip to its frame features (T, F); an encoder that measures speeds reads the times.

        Args:
            frames: (T, H, W, 3) uint8 RGB in time order.
            times_s: (T,) when they are shown, in seconds.
        """
        del times_s
        return self.encode_frames(frames[None])[0]

    @property
    def sampling(self) -> Sampling:
        """What a reader must give: T, the longest clip, and the size of pictures."""
        if self.preprocess is None:
            return Sampling(self.n_frames, self.frames_fixed, self.longest_s)
        size = (self.preprocess.height, self.preprocess.width)
        # Twice the size bounds memory and leaves the encoder's own resizing its say.
        return Sampling(self.n_frames, self.frames_fixed, self.longest_s, 2 * max(size), size)

    @property
    def reference(self) -> Encoder:
        """What reads texts that answers are only compared with; itself unless a text costs much."""
        return self

    def block_fingerprints(self) -> dict[str, str]:
        """Hash of what makes each of ``blocks``.

        Blocks of two encoders with the same name and hash are the same up to their weight: a stored
        vector can lend them to the other encoder (``vlar.index.maintenance.upgrade``).
        """
        return {block.name: f"{self.fingerprint} {block.name}" for block in self.blocks}

    def encode_blocks(self, frames: UInt8, times_s: Float64, names: Collection[str]) -> Float32:
        """One clip's vector (D,), of which only some blocks count; the others may be left zero.

        Args:
            frames: (T, H, W, 3) uint8 RGB in time order.
            times_s: (T,) when they are shown, in seconds.
            names: The blocks that count.
        """
        del names
        return self.pool(self.encode_clip(frames, times_s)[None])[0]

    def encode_video(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, D) float32 of unit length."""
        return self.pool(self.encode_frames(frames))


def load_encoder(spec: str) -> Encoder:
    """The encoder a spec names: ``NAME`` or ``NAME:ARGUMENT``.

    Raises:
        UnknownNameError: no encoder has this name.
        UsageError: the spec is empty.
    """
    if not spec.strip():
        raise UsageError("the encoder name is empty; use 'lite' or see 'vlar models'")
    name, _, argument = spec.partition(":")
    return registry.get("encoder", name).from_spec(argument)
