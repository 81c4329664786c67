"""``captioned:CAPTIONER``: sentences about a clip are compared with sentences about labels.

Estevam et al., "Tell me what you see: a zero-shot action recognition method based on natural
language descriptions", 2024: a captioner watches the clip, a sentence encoder reads its captions
and the texts of the labels. Nothing is trained. Any captioner (``vlar.generators.captions``) and
any text model can be combined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess, require_plain
from vlar.encoders.captions import Captioner, Captions, load_captioner, one_text
from vlar.encoders.sentence_tower import EmbedTexts, count_word_pieces, load_text_tower, tower_hash
from vlar.encoders.spec import split_options, take
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Role

_OPTIONS = ("text", "words", "keep")
_NOTHING = "a video"  # what a clip without captions is taken to show
_LOGIT_SCALE = 20.0
_SIZE = 260  # pixels for a captioner that states no size


@register("encoder", "captioned")
class CaptionedEncoder(Encoder):
    """Clips are what a captioner writes about them.

    A label with descriptions is the mean of its best sentences: those of at least ``words`` words,
    of them the ``keep`` nearest to its name, each with the name behind it, as in the paper.

    Args:
        captioner: Writes the captions.
        embed: Maps texts to unit vectors.
        text: What ``embed`` is, for the name; empty for the text encoder of ``lite``.
        words: Least words of a description.
        keep: Most descriptions of a label.
    """

    cpu_only = True
    per_clip = True
    contract_argument: ClassVar[str | None] = "concepts"
    logit_scale = _LOGIT_SCALE
    max_tokens = 256
    templates = "plain"

    def __init__(
        self,
        captioner: Captioner,
        embed: EmbedTexts,
        text: str = "",
        *,
        words: int = 5,
        keep: int = 10,
    ) -> None:
        self._captioner, self._embed, self._words, self._keep = captioner, embed, words, keep
        mark = "&" if "?" in captioner.name else "?"
        option = f"&text={text}" if text else ""
        self.name = f"captioned:{captioner.name}{mark}words={words}&keep={keep}{option}"
        self.modality, self.licence = captioner.modality, captioner.licence
        sampling = captioner.sampling
        self.n_frames, self.frames_fixed = sampling.n_frames, sampling.frames_fixed
        self.longest_s = sampling.longest_s
        size = sampling.size or (_SIZE, _SIZE)
        self.preprocess = Preprocess(*size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
        self.dim = self.frame_dim = len(embed(["a"])[0])
        self.frame_blocks = (FrameBlock("captions", self.dim, "clip"),)
        self.blocks = (Block("captions", self.dim, 1.0, True),)
        facts = f"{captioner.fingerprint} {text or tower_hash()} {words} {keep} {_NOTHING}"
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> CaptionedEncoder:
        """The captioner ``argument``, with options behind a ``?``: ``concepts?text=st:FOLDER``.

        Args:
            argument: Argument of the spec.
            device: None or ``cpu``.
            dtype: None or ``float32``.

        Raises:
            UnknownNameError: the captioner or an option does not exist.
            UsageError: a value is not usable.
            ModelError: a model cannot be loaded.
        """
        require_plain("captioned", "", device, dtype)
        spec, options = _split(argument or "concepts")
        counts = {
            name: _count(name, options[name]) for name in ("words", "keep") if name in options
        }
        text = options.get("text", "")
        return cls(load_captioner(spec), load_text_tower(text or None), text, **counts)

    def captions(self, clips: Sequence[Clip]) -> list[Captions]:
        """The captions of N clips: why a clip has the vector it has."""
        return self._captioner.caption(clips)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows: list[Encoded] = []
        for captions in self.captions(clips):
            # One by one, so that a clip is bit for bit the same alone and in company.
            vector = self._embed([one_text(captions).lower() or _NOTHING])[0]
            rows.append(Encoded(vector[None].copy(), vector))
        return rows

    def pool(self, features: Float32) -> Float32:
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        distinct = list(dict.fromkeys(texts))
        vectors = dict(zip(distinct, self._embed(distinct), strict=True))
        return np.stack([vectors[text] for text in texts])

    def encode_described(self, texts: Sequence[str], described: Sequence[Sequence[str]]) -> Float32:
        """Labels (C, D) by the mean of their best sentences, and by their names without any."""
        names = self.encode_text(texts)
        rows = [
            self._described(text, name, sentences)
            for text, name, sentences in zip(texts, names, described, strict=True)
        ]
        return np.stack(rows) if rows else names

    def sentences(self, text: str, described: Sequence[str]) -> list[str]:
        """The sentences of a label that are used: long enough, nearest to its name first."""
        longest = [row for row in dict.fromkeys(described) if len(row.split()) >= self._words]
        if not longest:
            return []
        nearest = self._embed(longest) @ self._embed([text])[0]
        order = np.argsort(-nearest, kind="stable")[: self._keep].tolist()
        return [f"{longest[index].lower()} {text}" for index in order]

    def _described(self, text: str, name: Float32, described: Sequence[str]) -> Float32:
        sentences = self.sentences(text, described)
        return unit(self._embed(sentences).mean(axis=0)) if sentences else name

    def count_tokens(self, text: str) -> int:
        return count_word_pieces(text)


def _split(argument: str) -> tuple[str, dict[str, str]]:
    """The captioner's spec, which keeps options of its own, and the options of the encoder."""
    spec, chosen = take(argument, _OPTIONS)
    _, options = split_options(f"x?{'&'.join(chosen)}" if chosen else "x", _OPTIONS)
    if not spec.startswith("hf:"):
        split_options(spec, _OPTIONS)  # names the option that is not known
    return spec, options


def _count(name: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise UsageError(f"{name}={value!r} is not a whole number from 1 to 1000")
    return int(value)
