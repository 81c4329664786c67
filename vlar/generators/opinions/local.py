"""``local:FOLDER``: a model of transformers that reads pictures and text, in a local folder.

Classes for image-text-to-text (LLaVA, Qwen-VL, SmolVLM, Gemma and others),
as transformers loads them by name. Nothing is generated: the probabilities of the letters are those
of the next token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.spec import split_options
from vlar.generators.backends import LocalModel, chat_inputs, model_folder
from vlar.generators.chat import NoAnswerError, RefusedError
from vlar.generators.opinions.base import Answer, Answerer, MediaItem, checked_probability
from vlar.generators.opinions.question import LETTERS, Question, picture_count, pictures
from vlar.registry import register
from vlar.types import Clip, Float64


@register("answerer", "local")
class LocalAnswerer(Answerer):
    """A model in a folder; it needs no server and no network.

    Args:
        folder: A folder that ``save_pretrained`` of transformers wrote, with the processor.
        n_pictures: Frames of a clip that it is shown.
        device: Where it computes, such as ``cuda``; None for the CPU.
    """

    def __init__(self, folder: Path, n_pictures: int, *, device: str | None = None) -> None:
        self._n = n_pictures
        self._model = LocalModel(
            folder,
            ("AutoProcessor", "AutoModelForImageTextToText"),
            "model",
            "give a folder of an image-text-to-text model as transformers saves it",
            error=RefusedError,
            device=device,
            chats=True,
            use_safetensors=True,
        )

    @classmethod
    def from_spec(cls, argument: str) -> LocalAnswerer:
        """The model in a folder: ``FOLDER`` or ``FOLDER?frames=8&device=cuda``."""
        target, options = split_options(argument, ("frames", "device"))
        folder = model_folder("local:", target)
        return cls(folder, picture_count(options.get("frames")), device=options.get("device"))

    @property
    def identity(self) -> str:
        return f"local {self._model.digest} {self._n}"

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        """Probabilities of the letters as the next token."""
        with self._model.use(_failed) as (processor, model):
            inputs = self._inputs(processor, shown.clip, question).to(model.device)
            logits = model(**inputs).logits[0, -1].float().cpu().numpy()
            chosen = _letters(processor.tokenizer, logits, len(question))
            n_tokens = int(inputs["input_ids"].shape[1])
        return Answer(checked_probability(chosen, len(question)), tokens_in=n_tokens)

    def _inputs(self, processor: Any, clip: Clip, question: Question) -> Any:
        shots = pictures(clip, self._n)
        text = question.text(n_pictures=len(shots), duration_s=clip.window.duration_s)
        content: list[dict[str, Any]] = [{"type": "image", "image": shot} for shot in shots]
        content.append({"type": "text", "text": text})
        return chat_inputs(processor, [{"role": "user", "content": content}])


def _failed(name: str, why: str) -> NoAnswerError:
    return NoAnswerError(
        f"{name} cannot answer ({why}); fewer pictures (?frames=4) make a question shorter"
    )


def _letters(tokenizer: Any, logits: Any, k: int) -> Float64:
    """(K,) shares of the letters: each with and without a space before it."""
    scores = np.full(k, -np.inf)
    for index, letter in enumerate(LETTERS[:k]):
        ids = {
            pieces[0] if text == letter else pieces[-1]
            for text in (letter, f" {letter}")
            if (pieces := tokenizer.encode(text, add_special_tokens=False))
        }
        values = [float(logits[n]) for n in ids if n < len(logits)]
        if values:
            scores[index] = np.logaddexp.reduce(values)
    top = scores.max()
    return np.exp(scores - top) if np.isfinite(top) else np.zeros(k)
