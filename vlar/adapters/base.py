"""What every adapter offers: an encoder with trained parts around or inside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.conditioned import ConditionedText
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError
from vlar.types import Clip, Encoded, Float32, Float64, JsonDict, UInt8

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingBatch:
    """What one training step sees.

    Attributes:
        inputs: (N, T, 3, height, width) normalised pixels, or (N, T, F) frame features where the
            adapter ``reads`` them.
        targets: (N, C) float, the share of each label; a row sums to 1. One-hot unless labels are
            smoothed or clips are mixed.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class TrainingOutput:
    """What one training step gives.

    Attributes:
        logits: (N, C), scaled similarity of clips and labels.
        losses: Scalars with gradients by name; ``total`` is what is minimised, the others are its
            terms, to be watched.
        frames: (N, T, D) features of the frames, not normalised, where the method has any; a
            method that wraps another one (distillation) reads them.
        classes: (C, D) vectors of the labels, or (N, C, D) as each clip sees them; likewise.
    """

    logits: Tensor
    losses: Mapping[str, Tensor]
    frames: Tensor | None = None
    classes: Tensor | None = None


class Trainable(ABC):
    """Beside ``Adapter``: what the training loop needs of a method.

    Attributes:
        reads: What a batch holds: ``pixels``, or the wrapped encoder's frame ``features``, which
            can then be computed once and kept.
        input_widths: Widths of the leading parts of ``training_inputs`` that a training may
            silence one at a time; none by default.
    """

    reads: ClassVar[Literal["pixels", "features"]] = "pixels"
    input_widths: Sequence[int] = ()

    @abstractmethod
    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained.

        Call ``training_classes`` before it, which may build parts for the labels, and ``refresh``
        when the training is over.
        """

    @abstractmethod
    def training_classes(self, labels: Sequence[str]) -> Any:
        """What every step needs of C labels and no parameter changes: token ids, say."""

    @abstractmethod
    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Logits and losses of a batch.

        Args:
            batch: N clips with their targets.
            classes: From ``training_classes``.
        """

    def fit_inputs(self, features: Float32) -> None:
        """Look at the training set once, before ``training_inputs``: to standardise, say.

        Args:
            features: (N, T, F) frame features; only where ``reads`` is ``features``.
        """
        del features

    def training_inputs(self, features: Float32) -> Float32:
        """What a batch holds of frame features (N, T, F); computed once a clip and kept.

        Returns:
            (N, T, K) float32, by default the features themselves. Clips may be mixed and their
            frames moved in time afterwards.
        """
        return features


class Adapter(Encoder):
    """An encoder made of another encoder and parameters of its own.

    It starts as the identity or as the start its method declares. The wrapped encoder never
    changes: a method that also trains the towers works on a copy of them.

    Attributes:
        encoder: The wrapped encoder.
        needs: What the wrapped encoder must offer: ``vit_blocks`` (a ``TorchEncoder`` with block
            views), ``frame_tokens`` (frame features of the joint space).
    """

    needs: ClassVar[tuple[str, ...]] = ()
    encoder: Encoder

    def _take_over(self, encoder: Encoder, n_frames: int) -> None:
        """See frames and say features, vectors and texts as ``encoder`` does."""
        self.dim, self.frame_dim, self.n_frames = encoder.dim, encoder.frame_dim, n_frames
        self.max_tokens, self.preprocess = encoder.max_tokens, encoder.preprocess
        self.frame_blocks, self.blocks = encoder.frame_blocks, encoder.blocks
        self.licence = encoder.licence

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features, vectors and context, over the old entries of the adapters."""
        if isinstance(self, ConditionedText):
            windows = [self.encode_windows(clip.data[None]) for clip in clips]
            return [
                Encoded(each.features[0], self.pool(each.features)[0], each.context[0])
                for each in windows
            ]
        features = [self.encode_clip(clip.data, clip.times_s) for clip in clips]
        return [Encoded(rows, self.pool(rows[None])[0]) for rows in features]

    def encode_clip(self, frames: UInt8, times_s: Float64) -> Float32:
        """(T, H, W, 3) uint8 RGB to (T, F)."""
        del times_s
        return self.encode_frames(frames[None])[0]

    @classmethod
    @abstractmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Adapter:
        """Build the adapter at its start.

        Args:
            encoder: What to wrap.
            settings: As ``settings`` returns them; None means the method's defaults.

        Raises:
            ModelError: the encoder does not offer what the adapter needs.
        """

    @classmethod
    def from_spec(cls, argument: str) -> Adapter:
        """Load a checkpoint of the method's original; ``argument`` is what follows ``NAME:``.

        Raises:
            ModelError: it has none; the message says what to do.
        """
        raise ModelError(
            f"{argument!r} cannot be read: this adapter has no checkpoints of an original; train "
            "it, save the model, and load the model folder"
        )

    @property
    @abstractmethod
    def settings(self) -> JsonDict:
        """What ``attach`` needs to build it again, for the manifest of a saved model."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The adapter's own parameters."""

    def state_dict(self) -> dict[str, Float32]:
        """The adapter's own parameters by name; nothing of the encoder."""
        state = self.module.state_dict()
        return {name: t.detach().float().cpu().numpy().copy() for name, t in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ModelError: names or shapes differ; the message names the first.
        """
        import torch

        own = self.module.state_dict()
        for name in sorted(own.keys() ^ state.keys()):
            known = "lacks" if name in own else "has no place for"
            raise ModelError(f"the saved adapter {known} {name!r}; it is of other settings")
        tensors = {name: torch.as_tensor(value) for name, value in state.items()}
        for name, tensor in tensors.items():
            if tensor.shape != own[name].shape:
                raise ModelError(
                    f"the saved adapter's {name!r} is {tuple(tensor.shape)}, this one's "
                    f"{tuple(own[name].shape)}; it is of other settings"
                )
        self.module.load_state_dict(tensors)
        self.refresh()

    @abstractmethod
    def refresh(self) -> None:
        """Forget what was computed from the parameters; to be called after they changed."""


def require_blocks(encoder: Encoder, adapter: str) -> TorchEncoder:
    """The encoder as one that shows its transformer blocks.

    Raises:
        ModelError: it shows none; the message names encoders that do.
    """
    if not isinstance(encoder, TorchEncoder):
        raise ModelError(
            f"adapter {adapter!r} works inside a ViT (it needs vit_blocks), and encoder "
            f"{encoder.name!r} shows none; use for example openclip:ViT-B-16-quickgelu/openai"
        )
    return encoder


def attached_name(encoder: Encoder) -> str | None:
    """The registered name of a part put around an encoder by ``attach``, to be built again so.

    None for a plain encoder, and for an adapter that a spec such as ``tc-clip:FILE`` loads whole.
    """
    known = registry.names("adapter") if isinstance(encoder, Adapter) else []
    named = (name for name in known if isinstance(encoder, registry.get("adapter", name)))
    return next((name for name in named if encoder.name == name), None)


def conditions_text(encoder: Encoder) -> ConditionedText | None:
    """The encoder as one whose text depends on the video, or None if it does not."""
    return encoder if isinstance(encoder, ConditionedText) else None


def load_any(spec: str) -> Encoder:
    """The encoder or the adapter with its encoder that a spec names.

    Raises:
        UnknownNameError: neither an encoder nor an adapter has this name.
    """
    name = spec.partition(":")[0]
    if name in registry.names("adapter"):
        return load_adapter(spec)
    if name not in registry.names("encoder"):
        known = [*registry.names("encoder"), *registry.names("adapter")]
        raise registry.unknown_name("encoder or adapter", name, known)
    return load_encoder(spec)


def load_adapter(spec: str) -> Adapter:
    """The adapter a spec names together with its encoder: ``tc-clip:FILE.pth``.

    Raises:
        UnknownNameError: no adapter has this name.
        UsageError: the spec names no file.
    """
    name, _, argument = spec.partition(":")
    part = registry.get("adapter", name)
    if not argument:
        raise UsageError(f"{name!r} needs a checkpoint; write {name}:FILE")
    return part.from_spec(argument)
