"""Descriptions by a causal language model of transformers in a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlar.generators.backends import LocalModel, chat_inputs, model_folder
from vlar.generators.chat import NoAnswerError
from vlar.generators.descriptions.bank_validation import TokenLimit
from vlar.generators.descriptions.chat_describer import ChatDescriber, Message
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
        classes = "AutoTokenizer", "AutoModelForCausalLM"
        advice = "give a folder as transformers saves it"
        self._model = LocalModel(folder, classes, "language model", advice)
        source = f"local language model {folder.resolve().name} (files {self._model.digest})"
        super().__init__(limit, source, "the language model")

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> LocalDescriber:
        return cls(model_folder("--llm local:", argument, "a language model", "tokenizer"), limit)

    @property
    def identity(self) -> str:
        return f"local {self._model.digest}"

    def complete(self, messages: Sequence[Message], max_tokens: int, form: JsonDict) -> str:
        """The model's answer; equal messages get an equal answer. ``form`` is not used.

        Raises:
            ModelError: the model cannot be loaded.
            NoAnswerError: the messages are longer than the model's context, or it fails.
        """
        with self._model.use(lambda name, why: NoAnswerError(f"{name} failed ({why})")) as loaded:
            tokenizer, model = loaded
            inputs = _inputs(tokenizer, messages).to(model.device)
            ids = inputs["input_ids"]
            longest = getattr(model.config, "max_position_embeddings", None) or getattr(
                model.config, "n_positions", None
            )
            room = (longest or 1 << 30) - ids.shape[1]
            if room < 1:
                raise NoAnswerError(
                    f"the question has {ids.shape[1]} tokens, more than {self._model.folder.name} "
                    "reads; use a smaller --batch or fewer --kinds"
                )
            out = model.generate(
                ids,
                attention_mask=ids.new_ones(ids.shape),
                max_new_tokens=min(max_tokens, room),
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id
                if tokenizer.pad_token_id is None
                else tokenizer.pad_token_id,
            )
            return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def _inputs(tokenizer: Any, messages: Sequence[Message]) -> Any:
    if tokenizer.chat_template:
        return chat_inputs(tokenizer, messages)
    # A base model continues a text, so the text ends where the answer begins.
    text = "\n\n".join(message["content"] for message in messages) + "\n\nJSON:\n"
    return tokenizer(text, return_tensors="pt")
