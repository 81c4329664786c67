"""Descriptions by a causal language model of transformers in a local folder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlar.errors import ModelError, UsageError
from vlar.files.reading import folder_stamp
from vlar.generators.descriptions.base import NoAnswerError
from vlar.generators.descriptions.chat_describer import ChatDescriber, Message
from vlar.language.bank_validation import TokenLimit
from vlar.registry import register
from vlar.types import JsonDict

_MARKERS = ("config.json",)  # files that every model folder has


@register("describer", "local")
class LocalDescriber(ChatDescriber):
    """A causal language model in a local folder; it needs no server and no network.

    Args:
        folder: A folder that ``save_pretrained`` of transformers wrote, with the tokenizer.
        limit: The encoder that will read the texts.
    """

    batch_size = 2  # small models lose track of long lists

    def __init__(self, folder: Path, limit: TokenLimit) -> None:
        super().__init__(limit)
        self._folder = folder
        self._digest = folder_stamp(folder)
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> LocalDescriber:
        """The model in the folder ``argument``.

        Raises:
            UsageError: the folder does not exist, or it holds no model.
        """
        folder = Path(argument).expanduser()
        if not argument or not all((folder / name).is_file() for name in _MARKERS):
            raise UsageError(
                f"--llm local:{argument} is not a folder with a language model (config.json, "
                "weights, tokenizer); give a folder that transformers saved"
            )
        return cls(folder, limit)

    @property
    def identity(self) -> str:
        """The hash of the model's files."""
        return f"local {self._digest}"

    def provenance(self) -> dict[str, str]:
        """The model's name and files, and the instructions."""
        return {
            "source": f"local language model {self._folder.resolve().name} (files {self._digest})",
            "made": "written by the language model for these labels; not reviewed by a person",
            "instructions": self.instruction_digest,
        }

    def licence(self) -> str:
        """The model's terms decide the licence of generated text."""
        return "not stated (generated text: see the terms of the language model)"

    def complete(self, messages: Sequence[Message], max_tokens: int, form: JsonDict) -> str:
        """The model's answer; equal messages get an equal answer. ``form`` is not used.

        Raises:
            ModelError: the model cannot be loaded.
            NoAnswerError: the messages are longer than the model's context.
        """
        import torch

        del form
        with self._lock:
            tokenizer, model = self._load()
            ids = _prompt(tokenizer, messages).to(model.device)
            room = _room(model, ids.shape[1])
            if room < 1:
                raise NoAnswerError(
                    f"the question has {ids.shape[1]} tokens, more than {self._folder.name} reads; "
                    "use a smaller --batch or fewer --kinds"
                )
            with torch.inference_mode():
                out = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=min(max_tokens, room),
                    do_sample=False,
                    pad_token_id=_pad(tokenizer),
                )
            return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            place = str(self._folder)
            # A folder of weights is data: its Python files never run, and nothing asks on stdin.
            options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            try:
                tokenizer = AutoTokenizer.from_pretrained(place, **options)
                model: Any = AutoModelForCausalLM.from_pretrained(place, **options)
            except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
                why = " ".join(str(error).split())
                if "trust_remote_code" in why:
                    why = "it wants to run code that comes with the weights; vlar never does"
                raise ModelError(
                    f"the language model in {place!r} cannot be loaded ({why}); give a folder as "
                    "transformers saves it"
                ) from error
            self._loaded = tokenizer, model.eval()
        return self._loaded


def _prompt(tokenizer: Any, messages: Sequence[Message]) -> Any:
    if tokenizer.chat_template:
        given = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        return given["input_ids"]
    # A base model continues a text, so the text ends where the answer begins.
    text = "\n\n".join(message["content"] for message in messages) + "\n\nJSON:\n"
    return tokenizer(text, return_tensors="pt")["input_ids"]


def _room(model: Any, used: int) -> int:
    longest = getattr(model.config, "max_position_embeddings", None) or getattr(
        model.config, "n_positions", None
    )
    return (longest or 1 << 30) - used


def _pad(tokenizer: Any) -> int | None:
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
