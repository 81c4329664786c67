"""The common space of frames and texts in ``lite``: the 1000 objects of ImageNet.

No pair of video and text was used for training. A clip is the square root of its mean class
probabilities. MiniLM compares a text with the name of each object, what people do with it, where it
is found and what else the classifier assigns to it. The softmax of the weighted cosines represents
the text over the objects. Both are centred over the objects, so that an unspecific clip favours no
text (after ConSE, Norouzi et al. 2014, and objects2action, Jain et al. 2015; evals/README.md lists
the alternatives).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.cancellation import check
from vlar.files import resources
from vlar.files.resources import cached
from vlar.numeric import unit
from vlar.types import Float32

BANK = "imagenet_objects"
KINDS = ("name", "activity", "scene", "also")
_STEP = 0.01
_RULE = 2  # increase it when phrases or rounding change, so that cached vectors are recomputed
_SEED_PARTS = 3  # files below 1 MB each

EmbedTexts = Callable[[Sequence[str]], Float32]


@dataclass(frozen=True)
class Anchors:
    """Unit vectors of the sentences of every object, minus the mean activity.

    Attributes:
        vectors: By kind, (S, 384) float32; several rows may describe one object.
        objects: By kind, (S,) ascending object numbers of the rows.
        mean: (384,) float32, the mean activity that is subtracted.
        digest: Hash of the bank and the text tower.
    """

    vectors: dict[str, Float32]
    objects: dict[str, npt.NDArray[np.int64]]
    mean: Float32
    digest: str


def load_anchors(embed: EmbedTexts, tower_hash: str, cache_folder: str) -> Anchors:
    """The anchors, from the packaged files or the cache; else they are computed.

    Args:
        embed: The text tower.
        tower_hash: Hash of its weights.
        cache_folder: Folder inside vlar's cache folder.
    """
    bank = resources.find("text_banks", BANK, ".json")
    digest = _digest(bank, tower_hash)
    packed = _packaged(bank.parent, digest)
    if packed is None:
        name = f"anchors-{digest[:16]}.npz"
        data = cached(
            cache_folder, name, lambda: _pack(embed), "the object sentences of 'lite' (up to 20 s)"
        )
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            packed = dict(archive)
    return _unpack(packed, digest)


def phrases(kind: str) -> list[tuple[int, str]]:
    """(object number, phrase) of one kind, in the order of the objects.

    Scenes and ``also`` are lists. Each of their items gets its own vector, because the vector of a
    list blurs its items.
    """
    from vlar.language.bank import load_bank

    pairs: list[tuple[int, str]] = []
    for number, entry in enumerate(load_bank(BANK).entries):
        texts = (entry.text,) if kind == "name" else entry.describe(kind)
        for text in texts:
            parts = re.split(r"[;,]", text) if kind in ("scene", "also") else [text]
            pairs += [(number, part.strip()) for part in parts if part.strip()]
    return pairs


def write_packaged(folder: Path, embed: EmbedTexts, tower_hash: str) -> None:
    """Write the packaged files next to the bank; call it after a change to the bank."""
    bank = resources.find("text_banks", BANK, ".json")
    digest = _digest(bank, tower_hash)
    with np.load(io.BytesIO(_pack(embed)), allow_pickle=False) as archive:
        packed = dict(archive)
    for part in range(_SEED_PARTS):
        content = {k: v if v.ndim == 1 else v[part::_SEED_PARTS] for k, v in packed.items()}
        np.savez_compressed(_part(folder, part), digest=np.array(digest), **content)


def _digest(bank: Path, tower_hash: str) -> str:
    return hashlib.sha256(bank.read_bytes() + f"{tower_hash}/{_RULE}".encode()).hexdigest()


def _part(folder: Path, part: int) -> Path:
    return folder / f"{BANK}.{part}.npz"


def _packaged(folder: Path, digest: str) -> dict[str, Any] | None:
    parts: list[dict[str, Any]] = []
    for number in range(_SEED_PARTS):
        path = _part(folder, number)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as archive:
            parts.append(dict(archive))
        if str(parts[-1].pop("digest")) != digest:
            return None
    packed = dict(parts[0])
    for key, first in parts[0].items():
        if first.ndim == 2:
            packed[key] = np.zeros((sum(len(p[key]) for p in parts), first.shape[1]), first.dtype)
            for number, part in enumerate(parts):
                packed[key][number::_SEED_PARTS] = part[key]
    return packed


def _pack(embed: EmbedTexts) -> bytes:
    packed: dict[str, Any] = {}
    for kind in KINDS:
        pairs = phrases(kind)
        vectors = embed([text for _, text in pairs])
        packed[kind] = np.round(vectors / _STEP).astype(np.int8)
        packed[f"{kind}_objects"] = np.array([n for n, _ in pairs], dtype=np.int16)
    stream = io.BytesIO()
    np.savez(stream, **packed)
    return stream.getvalue()


def _unpack(packed: dict[str, Any], digest: str) -> Anchors:
    def raw(kind: str) -> Float32:  # one kind at a time: all of them take 16 MB
        return packed[kind].astype(np.float32) * np.float32(_STEP)

    mean = raw("activity").mean(axis=0)
    return Anchors(
        vectors={kind: unit(raw(kind) - mean) for kind in KINDS},
        objects={kind: packed[f"{kind}_objects"].astype(np.int64) for kind in KINDS},
        mean=mean,
        digest=digest,
    )


# Inverse to the spread of the cosines of each kind (0.085, 0.108, 0.093, 0.093 over everyday
# actions), scene and also at half weight; the overall sharpness was chosen on half of the clips.
KIND_WEIGHTS = {"name": 4.0, "activity": 3.0, "scene": 2.0, "also": 2.0}
_TEXTS, _SENTENCES = 8, 512  # that are compared with each other at a time
SOFTMAX_SCALE = 0.85  # on class scores, before the softmax


class ObjectSpace:
    """Maps class scores and texts to unit vectors over the objects."""

    def __init__(self, embed: EmbedTexts, anchors: Anchors) -> None:
        self._embed = embed
        self._anchors = anchors
        self.width = len(anchors.vectors["name"])
        self._rows = {
            kind: np.unique(objects, return_index=True) for kind, objects in anchors.objects.items()
        }

    def video(self, logits: Float32) -> Float32:
        """(N, T, 1000) class scores to (N, 1000) unit vectors."""
        shifted = SOFTMAX_SCALE * (logits - logits.max(axis=-1, keepdims=True))
        probabilities = np.exp(shifted)
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        return centred(np.sqrt(probabilities.mean(axis=1)))

    def text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, 1000) unit vectors; equal texts are computed once."""
        distinct = list(dict.fromkeys(texts))
        embedded = self._embed(distinct)
        encoded: dict[str, Float32] = {}
        for begin in range(0, len(distinct), _TEXTS):
            check()
            part = embedded[begin : begin + _TEXTS]
            encoded |= zip(distinct[begin : begin + _TEXTS], self._affinities(part), strict=True)
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = encoded[text]
        return vectors

    def _affinities(self, embedded: Float32) -> Float32:
        """(C, 384) vectors of texts to (C, 1000) unit vectors; each has the same alone."""
        queries = unit(embedded - self._anchors.mean)
        activity = self._best("activity", queries)
        affinity = np.zeros(activity.shape, dtype=np.float32)
        for kind, weight in KIND_WEIGHTS.items():
            best = activity if kind == "activity" else self._best(kind, queries, activity)
            affinity += weight * best
        return centred(np.exp(affinity - affinity.max(axis=1, keepdims=True)))

    def _best(self, kind: str, queries: Float32, without: Float32 | None = None) -> Float32:
        """The best cosine of each object's sentences (C, 1000); without any, that of another kind.

        Args:
            kind: Of sentences.
            queries: (C, 384).
            without: (C, 1000) the cosines that stand in.
        """
        sentences = self._anchors.vectors[kind]
        cosines = np.empty((len(queries), len(sentences)), np.float32)
        # Products round by their shape, so each text has its own; a part stays in the processor.
        for begin in range(0, len(sentences), _SENTENCES):
            part = slice(begin, begin + _SENTENCES)
            for row, query in zip(cosines, queries, strict=True):
                row[part] = sentences[part] @ query
        present, first = self._rows[kind]
        best = np.maximum.reduceat(cosines, first, axis=1)
        if without is None or len(present) == self.width:
            return best
        filled = without.copy()
        filled[:, present] = best
        return filled


def centred(vectors: Float32) -> Float32:
    """Unit vectors (..., K) whose entries have the mean 0."""
    return unit(vectors - vectors.mean(axis=-1, keepdims=True))
