"""Descriptions by a causal language model of transformers in a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlar.errors import ModelError, UsageError
from vlar.generators.backends import LocalModel
from vlar.generators.descriptions.base import NoAnswerError
from vlar.generators.descriptions.chat_describer import ChatDescriber, Message
from vlar.language.bank_validation import TokenLimit
from vlar.registry import register
from vlar.types import JsonDict


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

        def failed(why: str) -> ModelError:
            return ModelError(
                f"the language model in {str(folder)!r} cannot be loaded ({why}); give a folder as "
                "transformers saves it"
            )

        self._model = LocalModel(folder, _classes, failed)

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> LocalDescriber:
        folder = Path(argument).expanduser()
        if not argument or not (folder / "config.json").is_file():
            raise UsageError(
                f"--llm local:{argument} is not a folder with a language model (config.json, "
                "weights, tokenizer); give a folder that transformers saved"
            )
        return cls(folder, limit)

    @property
    def identity(self) -> str:
        return f"local {self._model.digest}"

    def provenance(self) -> dict[str, str]:
        return {
            "source": f"local language model {self._model.folder.resolve().name} "
            f"(files {self._model.digest})",
            "made": "written by the language model for these labels; not reviewed by a person",
            "instructions": self.instruction_digest,
        }

    def licence(self) -> str:
        return "not stated (generated text: see the terms of the language model)"

    def complete(self, messages: Sequence[Message], max_tokens: int, form: JsonDict) -> str:
        """The model's answer; equal messages get an equal answer. ``form`` is not used.

        Raises:
            ModelError: the model cannot be loaded.
            NoAnswerError: the messages are longer than the model's context.
        """
        import torch

        with self._model.lock:
            tokenizer, model = self._model.load()
            ids = _prompt(tokenizer, messages).to(model.device)
            longest = getattr(model.config, "max_position_embeddings", None) or getattr(
                model.config, "n_positions", None
            )
            room = (longest or 1 << 30) - ids.shape[1]
            if room < 1:
                raise NoAnswerError(
                    f"the question has {ids.shape[1]} tokens, more than {self._model.folder.name} "
                    "reads; "
                    "use a smaller --batch or fewer --kinds"
                )
            with torch.inference_mode():
                out = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=min(max_tokens, room),
                    do_sample=False,
                    pad_token_id=tokenizer.eos_token_id
                    if tokenizer.pad_token_id is None
                    else tokenizer.pad_token_id,
                )
            return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def _classes() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer, AutoModelForCausalLM


def _prompt(tokenizer: Any, messages: Sequence[Message]) -> Any:
    if tokenizer.chat_template:
        given = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        return given["input_ids"]
    # A base model continues a text, so the text ends where the answer begins.
    text = "\n\n".join(message["content"] for message in messages) + "\n\nJSON:\n"
    return tokenizer(text, return_tensors="pt")["input_ids"]
