"""Vectors of a label list, of names or of descriptions, and the background next to them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vlar.encoders.base import BlockMix, Encoder, cached_vectors
from vlar.encoders.protocols import DescribedText
from vlar.errors import UsageError
from vlar.language.bank import load_bank
from vlar.language.descriptions import described_share, descriptions_of
from vlar.language.labels import Descriptions, LabelList
from vlar.model.core import BACKGROUND_BANK, ModelCore, described_vectors
from vlar.types import Float32

_BACKGROUND_KIND = "sentence"
_ENOUGH_DESCRIBED = 2 / 3  # of the labels; with fewer, names would be compared with descriptions


def label_vectors(
    core: ModelCore, labels: LabelList, descriptions: Descriptions = "auto"
) -> tuple[Float32, Float32]:
    """Concepts (C, D) of a label list, and the background (B, D) they are compared with.

    Where labels are described, so is the background, in the same blocks: names alone would lie
    nearer to some videos or farther, for no reason of meaning.

    Args:
        core: Whose text tower reads them.
        labels: The list.
        descriptions: ``auto`` joins the descriptions the encoder was measured to gain from, where
            the banks describe at least two thirds of the labels; ``none`` goes by names; kinds
            (``scene,motion`` or a sequence) join these, where there are any.

    Raises:
        UsageError: kinds were named and no label has a description of any of them.
    """
    if isinstance(core.encoder, DescribedText) and descriptions != "none":
        return _pooled(core, core.encoder, labels, descriptions)
    mixes = _mixes(core.encoder, descriptions)
    described = descriptions_of(labels.texts, labels.entries) if mixes else []
    if descriptions == "auto":
        mixes = mixes if described_share(described) >= _ENOUGH_DESCRIBED else ()
    elif mixes and not any(k in row for mix in mixes for k in mix.kinds for row in described):
        kinds = sorted({kind for row in described for kind in row})
        raise UsageError(
            f"no label has a description of the kind {_listed(descriptions)}; the banks have "
            f"{_listed(kinds) or 'none'} for these"
        )
    if not mixes:
        return core.encode_labels(labels.texts), core.background
    return (
        described_vectors(core.encoder, labels.texts, described, core.prompts, mixes),
        described_background(core, mixes),
    )


def _pooled(
    core: ModelCore, encoder: DescribedText, labels: LabelList, descriptions: Descriptions
) -> tuple[Float32, Float32]:
    """Concepts of labels and of the background by an encoder that pools descriptions itself."""
    names = descriptions.split(",") if isinstance(descriptions, str) else list(descriptions)
    kinds = None if descriptions == "auto" else {kind.strip() for kind in names}
    described = descriptions_of(labels.texts, labels.entries)
    # Contrasts name other actions.
    left_out = {"contrast"} if kinds is None else {k for row in described for k in row} - kinds
    rows = [
        [text for kind, texts in row.items() if kind not in left_out for text in texts]
        for row in described
    ]
    bank = load_bank(BACKGROUND_BANK)
    sentences = [list(entry.describe(_BACKGROUND_KIND)) for entry in bank.entries]

    def background() -> Float32:
        return encoder.encode_described(bank.texts, sentences)

    key, shape = json.dumps(["pooled", bank.texts, sentences]), (len(bank.texts), core.dim)
    concepts = encoder.encode_described(labels.texts, rows)
    return concepts, cached_vectors(core.encoder, key, shape, background)


def described_background(core: ModelCore, mixes: Sequence[BlockMix]) -> Float32:
    """Everyday actions, each described by one sentence.

    All kinds of description would take four times as long to encode, which the first answer would
    wait for, and are not measurably better (evals/README.md).
    """
    bank = load_bank(BACKGROUND_BANK)
    described = [{_BACKGROUND_KIND: entry.describe(_BACKGROUND_KIND)} for entry in bank.entries]
    by_sentence = [BlockMix(mix.block, {_BACKGROUND_KIND: 1.0}, mix.weight) for mix in mixes]
    return described_vectors(core.encoder, bank.texts, described, core.prompts, by_sentence)


def _mixes(encoder: Encoder, descriptions: Descriptions) -> tuple[BlockMix, ...]:
    if descriptions == "auto":
        return encoder.descriptions
    if descriptions == "none":
        return ()
    names = descriptions.split(",") if isinstance(descriptions, str) else descriptions
    kinds = [kind.strip() for kind in names if kind.strip()]
    if not kinds:
        raise UsageError("no kind of description was given; write 'none', 'auto' or KIND,KIND")
    weights = {"name": 1.0, **dict.fromkeys(kinds, 1.0)}
    if encoder.descriptions:
        return tuple(BlockMix(mix.block, weights, mix.weight) for mix in encoder.descriptions)
    return tuple(BlockMix(block.name, weights) for block in encoder.blocks if block.has_text)


def _listed(kinds: Descriptions) -> str:
    return kinds if isinstance(kinds, str) else ", ".join(kinds)
