"""Labels to TC-CLIP's prompts."""

from __future__ import annotations

import re

from vlar.adapters.tc_clip.config import TcClipConfig


def phrase(config: TcClipConfig) -> str:
    """The words that stand where the learnable prompts go; as many as there are prompts.

    >>> phrase(TcClipConfig(n_prompts=6))
    'a photo of a X X'
    """
    words = config.prompt_phrase.split()[: config.n_prompts]
    return " ".join(words + ["X"] * (config.n_prompts - len(words)))


def prompt(label: str, config: TcClipConfig) -> str:
    """The prompt of a label; a text that already begins with the phrase is taken as it is.

    >>> prompt("ApplyEyeMakeup", TcClipConfig())
    'a photo of a Apply Eye Makeup.'
    """
    start = phrase(config)
    if label.startswith(start + " "):
        return label
    name = re.sub(r"([A-Z])", r" \1", label) if config.split_capitals else label
    return f"{start} {name.strip().replace('_', ' ')}."
