"""Models that are not encoders, told by the class that their configuration names."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: The end of a class of transformers, and what such a model is. The first match counts.
_KINDS = (
    (r"ForObjectDetection$|ForZeroShotObjectDetection$", "a detector"),
    (r"Segmentation$|ForMaskGeneration$|ForImageMatting$", "a model that segments pictures"),
    (r"ForCausalLM$|LMHeadModel$|ForConditionalGeneration$|ForSeq2SeqLM$", "a chat or text model"),
    (r"ForMaskedLM$|ForSequenceClassification$|ForTokenClassification$|ForQuestionAnswering$",
     "a text model"),
    (r"ForImageClassification$", "a classifier of pictures with fixed classes"),
    (r"ForDepthEstimation$|ForPoseEstimation$|ForKeypointDetection$", "a model of depth or pose"),
    (r"ForSpeechSeq2Seq$|ForCTC$|ForAudioClassification$|TextToWaveform$", "a speech model"),
    (r"Pipeline$|UNet\w*$|Transformer2DModel$", "a model that makes pictures"),
)  # fmt: skip


def other_kind(architectures: Sequence[str]) -> str | None:
    """What a model is that gives no vectors for clips and texts; None where nothing says so.

    >>> other_kind(["LlamaForCausalLM"]), other_kind(["CLIPModel"])
    ('a chat or text model', None)

    Args:
        architectures: Of its ``config.json``.
    """
    for name in architectures:
        for pattern, kind in _KINDS:
            if re.search(pattern, str(name)):
                return kind
    return None
