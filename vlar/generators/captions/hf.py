"""``hf:FOLDER``: a captioning model of transformers in a folder, for pictures or for video.

Models that write about one picture (BLIP, GIT) caption a few frames of a clip. Models that chat
about pictures (BLIP-2 with a template, Qwen-VL, SmolVLM) get these frames in one question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.captions import Captioner, Captions
from vlar.encoders.spec import split_options
from vlar.errors import ModelError, UsageError
from vlar.generators.backends import LocalModel, chat_inputs, model_folder
from vlar.registry import register
from vlar.types import Clip, Sampling, UInt8

_QUESTION = "Describe in one plain sentence what happens in this video."
_OPTIONS = ("frames", "tokens")
_MOST = {"frames": 32, "tokens": 512}


@register("captioner", "hf")
class HfCaptioner(Captioner):
    """A vision-language model of transformers, read from a folder of the user.

    Args:
        folder: As ``save_pretrained`` writes it, with its processor.
        frames: Frames of a clip it looks at, 1 to 32.
        tokens: Longest caption, 1 to 512.
    """

    licence = "as the model's folder states"

    def __init__(self, folder: Path, frames: int = 3, tokens: int = 40) -> None:
        self._model = LocalModel(
            folder,
            ("AutoProcessor", "AutoModelForImageTextToText"),
            "captioning model",
            "give the folder of an image-to-text or image-text-to-text model with its processor",
            use_safetensors=True,
        )
        self._frames, self._tokens = frames, tokens
        self.name = f"hf:{folder}?frames={frames}&tokens={tokens}"
        self.fingerprint = hashlib.sha256(
            f"{self._model.digest} {frames} {tokens} {_QUESTION}".encode()
        ).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> HfCaptioner:
        """The model in a folder, with options: ``FOLDER?frames=4&tokens=60``."""
        target, options = split_options(argument, _OPTIONS)
        folder = model_folder("hf:", target)
        return cls(folder, **{name: _count(name, value) for name, value in options.items()})

    @property
    def sampling(self) -> Sampling:
        return Sampling(self._frames)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """Captions of each clip: one a frame, or one a clip from a model that chats."""
        with self._model.use(_failed) as (processor, model):
            return [self._captions(processor, model, clip.data) for clip in clips]

    def _captions(self, processor: Any, model: Any, frames: UInt8) -> Captions:
        from PIL import Image

        if not len(frames):
            return ()
        places = np.linspace(0, len(frames) - 1, min(self._frames, len(frames))).round().astype(int)
        pictures = [Image.fromarray(frames[number]) for number in places.tolist()]
        chats = bool(getattr(processor, "chat_template", None))
        requests = [pictures] if chats else [[picture] for picture in pictures]
        captions: dict[str, None] = {}
        for group in requests:
            inputs = _inputs(processor, group, chats).to(model.device)
            ids = model.generate(**inputs, max_new_tokens=self._tokens, do_sample=False)
            begin = inputs["input_ids"].shape[1] if chats else 0
            text = processor.batch_decode(ids[:, begin:], skip_special_tokens=True)[0]
            if text := " ".join(text.split()):
                captions[text] = None
        return tuple(captions)


def _inputs(processor: Any, pictures: Sequence[Any], chats: bool) -> Any:
    if not chats:
        return processor(images=pictures, return_tensors="pt")
    content = [{"type": "image", "image": picture} for picture in pictures]
    content.append({"type": "text", "text": _QUESTION})
    return chat_inputs(processor, [{"role": "user", "content": content}])


def _failed(name: str, why: str) -> ModelError:
    return ModelError(f"{name} failed ({why}); try fewer frames, or another model")


def _count(name: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= _MOST[name]:
        raise UsageError(f"{name}={value!r} is not a whole number from 1 to {_MOST[name]}")
    return int(value)
