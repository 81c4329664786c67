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
from vlar.encoders.spec import missing_library, split_options
from vlar.errors import ModelError, UsageError
from vlar.generators.backends import LocalModel, one_line
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
        def failed(why: str) -> ModelError:
            return ModelError(
                f"the captioning model in {str(folder)!r} cannot be loaded ({why[:300]}); give the "
                "folder of an image-to-text or image-text-to-text model with its processor"
            )

        self._model = LocalModel(folder, _classes, failed, use_safetensors=True)
        self._frames, self._tokens = frames, tokens
        self.name = f"hf:{folder}?frames={frames}&tokens={tokens}"
        self.fingerprint = hashlib.sha256(
            f"{self._model.digest} {frames} {tokens} {_QUESTION}".encode()
        ).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> HfCaptioner:
        """The model in a folder, with options: ``FOLDER?frames=4&tokens=60``."""
        place, options = split_options(argument, _OPTIONS)
        folder = Path(place).expanduser()
        if not place or not (folder / "config.json").is_file():
            raise UsageError(
                f"hf:{place} is not a folder with a model (config.json, weights, processor); give "
                "a folder that transformers saved"
            )
        return cls(folder, **{name: _count(name, value) for name, value in options.items()})

    @property
    def sampling(self) -> Sampling:
        return Sampling(self._frames)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """Captions of each clip: one a frame, or one a clip from a model that chats."""
        with self._model.lock:
            processor, model = self._model.load()
            try:
                return [self._captions(processor, model, clip.data) for clip in clips]
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
                raise ModelError(
                    f"the captioning model in {str(self._model.folder)!r} failed "
                    f"({one_line(error)[:200]}); try fewer frames, or another model"
                ) from error

    def _captions(self, processor: Any, model: Any, frames: UInt8) -> Captions:
        import torch
        from PIL import Image

        if not len(frames):
            return ()
        places = np.linspace(0, len(frames) - 1, min(self._frames, len(frames))).round().astype(int)
        pictures = [Image.fromarray(frames[place]) for place in places.tolist()]
        chats = bool(getattr(processor, "chat_template", None))
        asked = [pictures] if chats else [[picture] for picture in pictures]
        found: dict[str, None] = {}
        for group in asked:
            inputs = self._inputs(processor, group, chats).to(model.device)
            with torch.inference_mode():
                ids = model.generate(**inputs, max_new_tokens=self._tokens, do_sample=False)
            begin = inputs["input_ids"].shape[1] if chats else 0
            text = processor.batch_decode(ids[:, begin:], skip_special_tokens=True)[0]
            if text := " ".join(text.split()):
                found[text] = None
        return tuple(found)

    def _inputs(self, processor: Any, pictures: Sequence[Any], chats: bool) -> Any:
        if not chats:
            return processor(images=pictures, return_tensors="pt")
        content = [{"type": "image", "image": picture} for picture in pictures]
        message = {"role": "user", "content": [*content, {"type": "text", "text": _QUESTION}]}
        return processor.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip


def _classes() -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise missing_library("captioner 'hf'", error) or error from error
    return AutoProcessor, AutoModelForImageTextToText


def _count(name: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= _MOST[name]:
        raise UsageError(f"{name}={value!r} is not a whole number from 1 to {_MOST[name]}")
    return int(value)
