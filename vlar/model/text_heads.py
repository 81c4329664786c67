"""The head of labels that are answered from their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlar.model.core import ModelCore
from vlar.model.label_concepts import Descriptions, label_vectors
from vlar.scoring.base import Array, Head
from vlar.scoring.gated import ClipGate, GatedHead
from vlar.scoring.heads import ConceptHead
from vlar.text.labels import LabelList


def text_head(core: ModelCore, labels: LabelList, mode: str, descriptions: Descriptions) -> Head:
    """Labels as vectors, and what the encoder knows about labels with examples among them.

    Args:
        core: Encodes the labels.
        labels: C labels.
        mode: ``one`` or ``multi``; a gate tells labels apart that exclude each other.
        descriptions: See ``label_vectors``.
    """
    concepts, background = label_vectors(core, labels, descriptions)
    offsets = getattr(core.encoder, "label_offsets", None)
    head = ConceptHead(
        labels.labels, concepts, background, mode=mode, logit_scale=core.encoder.logit_scale,
        content_free=core.content_free, offsets=offsets and offsets(labels.texts),
    )  # fmt: skip
    gate = _gate(core, labels.texts) if mode == "one" else None
    return head if gate is None else GatedHead(head, labels.texts, gate)


def restored_gated(
    core: ModelCore, config: Mapping[str, Any], state: Mapping[str, Array]
) -> GatedHead:
    """See ``GatedHead.restore``."""
    return GatedHead.restore(config, state, _gate(core, [str(text) for text in config["texts"]]))


def _gate(core: ModelCore, texts: Sequence[str]) -> ClipGate | None:
    bind = getattr(core.encoder, "label_gate", None)
    return None if bind is None else bind(texts)
