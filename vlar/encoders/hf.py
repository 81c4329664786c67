"""``hf:ORG/NAME`` and ``hf:FOLDER``: models of transformers with an image or video tower.

Their families are data (``vlar/encoders/clip/hf_loader.py``). A video classifier without a text
tower answers through the names of its classes (``vlar/encoders/clip/hf_classifier.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.hub_source import Hub, of_transformers, pinned
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.session import Session
from vlar.encoders.spec import rate_of, split_options, yes
from vlar.encoders.torch_encoder import TorchEncoder, WholeClipEncoder
from vlar.errors import UsageError
from vlar.files.recent import Recent
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.encoders.clip.hf_loader import Loaded
    from vlar.encoders.clip.towers import Towers

_RATE = ("fps", "frames")
_OPTIONS = ("device", "precision", "random_init", "revision", "lora", *_RATE)
_FRAMES = 16  # of a model that takes any number: what PE-AV was measured with
_KEPT_LISTS = 4  # text lists whose unconditioned features are kept


@register("encoder", "hf")
class HfEncoder(TorchEncoder):
    """A transformers model with an image and a text tower, frame by frame."""

    libraries = ("torch", "transformers")
    contract_argument: ClassVar[str | None] = None  # nothing of it can be had offline

    @classmethod
    def sources(cls, argument: str) -> list[Hub]:
        return of_transformers(*split_options(argument, _OPTIONS))

    @classmethod
    def from_spec(
        cls,
        argument: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        random_init: bool = False,
    ) -> Encoder:
        """Load a model.

        Args:
            argument: ``ORG/NAME`` on the hub (fetched once, then cached) or a folder from
                ``save_pretrained``, with its tokeniser and image processor. Options follow a ``?``:
                ``precision=float32|bfloat16|float16|int8``, ``device=cpu|cuda``,
                ``random_init=true`` starts the configuration without weights, ``lora=FOLDER``
                adds the low-rank changes that peft saved there. A model of whole
                clips that takes any number of frames has ``frames=16`` (at most, with a rate) and
                ``fps=2`` (frames a second).
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.
            random_init: Start with seeded random weights: for tests and timings.

        Raises:
            UnknownNameError: the hub has no such model; the message names what is near.
            ModelError: another family, or weights that are missing, cannot be fetched or do not
                fit; the message names the remedy.
            UsageError: a number of frames for a model that has its own.
        """
        from vlar.encoders.clip.hf_classifier import is_classifier, load_classifier
        from vlar.encoders.clip.hf_loader import load, read_source
        from vlar.encoders.clip.options import read_spec

        target, options, name, loading = read_spec("hf", argument, _OPTIONS, device, dtype)
        loading["random_init"] = random_init or yes(options, "random_init")
        source = read_source(target, options, random_init=loading["random_init"])
        name = pinned(name, cls.sources(argument))
        if is_classifier(source.config):
            _refuse_frames(name, options, "its own number of frames")
            if "lora" in options:
                raise UsageError(f"{name} is a classifier: leave the model option lora out")
            return load_classifier(source, name, **loading)
        loaded = load(source, lora=options.get("lora"), **loading)
        if loaded.family.sees == "clips":
            return _whole_clips(loaded, name, options)
        _refuse_frames(name, options, "8 frames, or those of a library, one by one")
        kind = XClipEncoder if loaded.family.sees == "ordered" else cls
        return kind(loaded.towers, name, n_frames=loaded.n_frames or 8)


def _whole_clips(loaded: Loaded, name: str, options: dict[str, str]) -> WholeClipEncoder:
    if loaded.n_frames is not None:
        _refuse_frames(name, options, f"exactly {loaded.n_frames} frames")
        return WholeClipEncoder(loaded.towers, name, n_frames=loaded.n_frames, frames_fixed=True)
    fps, frames = rate_of(options)
    frames = frames or _FRAMES
    most = None if fps is None else frames
    return WholeClipEncoder(loaded.towers, name, n_frames=frames, fps=fps, max_frames=most)


def _refuse_frames(name: str, options: dict[str, str], takes: str) -> None:
    for option in _RATE:
        if option in options:
            raise UsageError(
                f"{name} takes {takes}: leave the model option {option}={options[option]!r} out"
            )


class XClipEncoder(TorchEncoder, ConditionedText):
    """X-CLIP: frames exchange messages, a small transformer pools them, prompts depend on the
    video.

    The number of frames is the one it was trained with; ``encode_text`` leaves the video out.
    """

    libraries = ("torch", "transformers")
    frames_fixed = True
    templates = "plain"  # it was trained on bare class names

    def __init__(self, towers: Towers, name: str, *, n_frames: int) -> None:
        super().__init__(towers, name, n_frames=n_frames)
        self._texts = Recent(_KEPT_LISTS)

    @property
    def _model(self) -> Any:
        return self.towers.model

    def pool(self, features: Float32) -> Float32:
        import torch

        rows: list[Float32] = [np.zeros((0, self.dim), np.float32)]
        with torch.inference_mode():
            frames = torch.from_numpy(np.array(features, np.float32))
            frames = frames.to(self.towers.device, self.towers.dtype)
            # One window at a time, so that its vector does not depend on its company.
            for row in range(len(frames)):
                rows.append(self._model.mit(frames[row : row + 1])[1].float().cpu().numpy())
        return unit(np.concatenate(rows))

    def session(self, *, features: bool = True) -> Session:
        """Windows share frames and no work: a frame depends on the others of its window."""
        return Session(self.encode, self.encode_blocks)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        model, shape = self._model, pixels.shape[:2]
        output = model.vision_model(pixel_values=pixels.flatten(0, 1))
        features = model.visual_projection(output.pooler_output).unflatten(0, shape)
        patches = model.prompts_visual_layernorm(output.last_hidden_state[:, 1:])
        patches = patches @ model.prompts_visual_projection
        return features, patches.unflatten(0, shape).mean(dim=1)

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        import torch

        if not texts or not len(context):
            return np.zeros((len(context), len(texts), self.dim), np.float32)
        rows: list[Float32] = []
        with torch.inference_mode():
            word_tokens = self._texts.keep(tuple(texts), lambda: self._text_features(texts))[None]
            tokens = torch.from_numpy(np.asarray(context, np.float32))
            for window in tokens.to(self.towers.device, self.towers.dtype).split(1):
                prompts = word_tokens + self._model.prompts_generator(word_tokens, window)
                rows.append(prompts.float().cpu().numpy())
        return unit(np.concatenate(rows))

    def _text_features(self, texts: Sequence[str]) -> Tensor:
        return self.towers.text(self.token_ids(list(texts)).to(self.towers.device))
