"""The core of a model: an encoder, and the words and clips it compares everything with.

The core has no labels and no head. Adapting, calibrating, saving and searching take a core;
``vlar.model.model.Model`` has a core and what these made.

A concept vector is the unit mean of the vectors of its filled templates (Radford et al. 2021,
section 3.1.4, prompt ensembling). Large label lists are encoded once per encoder
(``vlar.encoders.base``).

With descriptions, a block of the vector (``Encoder.blocks``) is the weighted mean of unit vectors:
the name's, and for each kind of description the mean of its texts. Their errors differ, so their
mean is nearer to matching videos than any of them (evals/results/descriptions_lite.json). Which
blocks take descriptions, which kinds, and their weights is the encoder's
(``Encoder.descriptions``), measured. An encoder without any uses names alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.cancellation import cancellable, check
from vlar.encoders.base import (
    Asked,
    BlockMix,
    Encoder,
    cached_vectors,
    check_finite,
    content_free_vectors,
    demo_vectors,
)
from vlar.encoders.protocols import ConditionedText, IntervalAnswers
from vlar.encoders.session import Session
from vlar.errors import UsageError
from vlar.files.recent import Recent
from vlar.heads.concept_heads import make_scorer
from vlar.heads.zero_shot import (
    AskedScorer,
    ContentFree,
    EvidenceCurve,
    LabelScorer,
    ZeroShotScorer,
    match_scorer,
    upper_spread,
)
from vlar.language.bank import load_bank
from vlar.language.descriptions import Described
from vlar.language.foreign import understood
from vlar.language.prompts import fill, load_templates
from vlar.media.bundle import failed_parts
from vlar.media.lookup import reader
from vlar.media.views import Views, ViewSampler
from vlar.model.library_model import LibraryModel
from vlar.numeric import unit
from vlar.progress import stage
from vlar.types import Clip, Encoded, Failure, Float32, Float64, Role, Sampling, Window

_log = logging.getLogger("vlar")
BACKGROUND_BANK = "everyday_actions"
_NAME = "name"
_WORTH_KEEPING = 64  # texts; fewer are encoded again faster than a file is worth
_BATCH_CLIPS = 8
SPREAD_LOGITS = 2.5  # of everyday actions in a clip, where a model states no factor
_FEWEST_BLANK, _MOST_BLANK = 3, 1  # content-free clips, and clips of the demo called blank
CANNOT_TELL_BLANK = (
    "%s does not tell blank clips from others (it calls clips of the demo blank): blank and noisy "
    "clips are answered like others"
)
# Evidence of nothing stays at the prior of a match, .05; half is stated from 1,000 to 1 on, which
# a row that does not show the text has in about one of 10,000 (evals/spaces.py).
_UNFITTED = Asked(1.0, 1.0, 0.0, 0.0, 0.0, 1, moment_slope=0.426, moment_offset=-1.69)
_KEPT_SCORERS = 256  # phrases; those asked again are not compared with the background again


@dataclass(frozen=True)
class EncodedSpan:
    """One span of a recording, encoded.

    Attributes:
        path: The recording.
        window: The span.
        encoded: Its clips as one row.
        lost: Share (0 to 1) of its frames that could not be read or may be wrong.
        failed: Parts of a bundle that could not be read.
        synthetic: Whether its samples were made from a recording of another sensor.
        cost: Multiply-adds of its clips; None where they are not counted, or nobody asked.
    """

    path: Path
    window: Window
    encoded: Encoded
    lost: float = 0.0
    failed: tuple[Failure, ...] = ()
    synthetic: bool = False
    cost: int | None = None


class ModelCore(LibraryModel):
    """Maps clips and words into one space.

    Args:
        encoder: Frozen towers, or an adapter around them.
        templates: Name of a prompt set; None for the one that suits the encoder.
        name: What answers call this model; None for the encoder's name.
    """

    def __init__(
        self, encoder: Encoder, *, templates: str | None = None, name: str | None = None
    ) -> None:
        self.encoder = encoder
        self.template_set = templates or encoder.templates
        self.name = name or encoder.name
        self.modality, self.dim, self.n_frames = encoder.modality, encoder.dim, encoder.n_frames
        self.shorter_side = encoder.sampling.shorter_side or 0
        self.asked, self.conditions_text = encoder.asked, isinstance(encoder, ConditionedText)
        self.english, self.few_words = encoder.english, encoder.few_words
        #: P templates that a label or phrase is put into.
        self.prompts = load_templates(self.template_set)

    @property
    def fingerprint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Hash of what makes a vector; two models with the same one share libraries."""
        return self.encoder.fingerprint

    @property
    def sampling(self) -> Sampling:
        """The samples that a reader must give for a clip."""
        return self.encoder.sampling

    # Clips

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips to N rows; a clip gives the same row alone and in company."""
        rows = self.encoder.encode(clips)
        for clip, row in zip(clips, rows, strict=True):
            name = f"{clip.path} at {clip.window.start_s:.1f} s"
            check_finite(row.vector[None], [name], self.encoder)
        return rows

    def session(self) -> Session:
        """Session for vectors of a recording's windows in the order of time; without features."""
        return self.encoder.session(features=False)

    @property
    def view_sampler(self) -> ViewSampler:
        """Reads the views that a span is judged by."""
        return ViewSampler(reader(self.encoder.modality), self.encoder.sampling)

    def encode_views(self, views: Views) -> Encoded:
        """The clips of one span as one row: mean of their vectors, features of the first."""
        return _as_one(self.encode(views))

    @property
    def answers_intervals(self) -> bool:
        """True where an interval is asked of the whole recording (``encode_interval``)."""
        encoder = self.encoder
        return isinstance(encoder, IntervalAnswers) and encoder.answers_intervals

    def encode_interval(self, windows: Views, at: Window) -> EncodedSpan:
        """An interval of a recording, asked of an encoder that reads all of it.

        Args:
            windows: Clips that follow each other and cover the recording.
            at: The interval on the clock of the recording; it begins before its end.

        Raises:
            UsageError: the encoder does not answer about intervals.
        """
        encoder, end_s = self.encoder, windows[-1].window.end_s
        if not isinstance(encoder, IntervalAnswers):
            raise UsageError(f"model {self.name!r} answers about whole clips; cut the interval out")
        rows = self.encode(windows)
        shares = np.array([[at.start_s / end_s, min(at.end_s / end_s, 1.0)]], np.float32)
        features = np.stack([row.features for row in rows])
        vector = encoder.interval_vectors(features, shares)[0]
        encoded_interval = encoded_span(windows, rows)
        span = Window(at.start_s, min(at.end_s, end_s))
        return replace(
            encoded_interval, window=span, encoded=replace(encoded_interval.encoded, vector=vector)
        )

    def cost_of(self, views: Views) -> int | None:
        """Multiply-adds of the clips of a span; None where the encoder does not count them."""
        counts = [self.encoder.operations(clip) for clip in views]
        return None if None in counts else sum(filter(None, counts))

    def encode_spans(
        self, spans: Iterable[Views | Failure], *, costs: bool = False
    ) -> Iterator[EncodedSpan | Failure]:
        """Encode the clips of many spans in batches across recordings.

        A batch holds 8 clips, or as many bytes of samples as the encoder can use at once
        (``Session.batch_bytes``), so that memory stays bounded whatever the number of spans.

        Args:
            spans: The views of each span, or why it cannot be read.
            costs: Whether operations are counted too.

        Yields:
            One row a span, in order; a Failure stays in its place.
        """
        waiting: list[Views | Failure] = []
        clips = size = 0
        most = self.encoder.session(features=False).batch_bytes
        for span in spans:
            waiting.append(span)
            if not isinstance(span, Failure):
                clips += len(span)
                size += sum(clip.data.nbytes for clip in span)
            elif clips:
                continue
            if not clips or clips >= _BATCH_CLIPS or size >= most:
                yield from self._encode_batch(waiting, costs)
                waiting, clips, size = [], 0, 0
        yield from self._encode_batch(waiting, costs)

    def _encode_batch(
        self, spans: Sequence[Views | Failure], costs: bool
    ) -> Iterator[EncodedSpan | Failure]:
        check()
        views = [span for span in spans if not isinstance(span, Failure)]
        rows = iter(self.encode([clip for clips in views for clip in clips]))
        for span in spans:
            if isinstance(span, Failure):
                yield span
            else:
                encoded = encoded_span(span, [next(rows) for _ in span])
                yield replace(encoded, cost=self.cost_of(span)) if costs else encoded

    # Words

    def encode_labels(self, texts: Sequence[str]) -> Float32:
        """C labels to concept vectors (C, D) float32 of unit length."""
        return concept_vectors(self.encoder, self.read(texts), self.prompts)

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Q phrases of a search to concept vectors (Q, D) float32 of unit length."""
        return concept_vectors(self.encoder, self.read(texts), self.prompts, "query")

    def read(self, texts: Sequence[str]) -> Sequence[str]:
        """C texts as the encoder reads them; another language in English, where it needs that."""
        english = understood(texts) if self.english else {}
        return [english.get(text, text) for text in texts] if english else texts

    def conditioned_queries(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        """Labels or phrases, conditioned on each of N windows, see ``LibraryModel``."""
        if not isinstance(self.encoder, ConditionedText):
            return super().conditioned_queries(texts, context)
        read = self.read(texts)
        filled = [prompt for prompts in fill(self.prompts, read) for prompt in prompts]
        words = self.encoder.conditioned_text(filled, context)
        return unit(words.reshape(len(context), len(texts), len(self.prompts), -1).mean(axis=2))

    # What everything is compared with

    @cached_property
    def background(self) -> Float32:
        """(B, D) concepts of everyday actions: what else might be going on."""
        texts = load_bank(BACKGROUND_BANK).texts
        with cancellable(None):  # every request needs it
            return concept_vectors(self.encoder.reference, texts, self.prompts)

    @cached_property
    def query_background(self) -> Float32:
        """(B, D) the same actions as phrases of a search."""
        if not self.encoder.two_roles:
            return self.background
        texts = load_bank(BACKGROUND_BANK).texts
        with cancellable(None):
            return concept_vectors(self.encoder.reference, texts, self.prompts, "query")

    @cached_property
    def content_free(self) -> Float32:
        """(M, D) vectors of clips that show nothing."""
        with cancellable(None):
            return content_free_vectors(self.encoder)

    @cached_property
    def blank(self) -> Float32:
        """The content-free vectors that answers by texts use, (0, D) where these prove nothing.

        The check tests itself on the clips of ``vlar demo``, where they are here and nothing was
        fitted to the encoder: if it calls more than one of the three blank, it is off.
        """
        references = self.content_free
        if self.calibrated or self.modality != "video" or len(references) < _FEWEST_BLANK:
            return references
        with cancellable(None):
            blank = ContentFree(references).probability(demo_vectors(self.encoder)) > 0.5
        if blank.sum() <= _MOST_BLANK:
            return references
        _log.warning(CANNOT_TELL_BLANK, self.name)
        return references[:0]

    @cached_property
    def logit_scale(self) -> float:
        """Factor from cosine to logit: the model's own, or where it states none, an estimate.

        It is the one at which the cosines of everyday actions with a content-free clip spread by
        2.5 logits. The best factor for right labels that lie ``z`` spreads above the others is
        ``z / spread``, and ``z`` is 1 to 5 in most spaces (evals/spaces.py).
        """
        if self.encoder.states_scale or len(self.background) < 2:
            return self.encoder.logit_scale
        references = self.content_free
        spreads = upper_spread(references @ self.background.T)
        spread = float(np.median(spreads)) if len(references) else 0.0
        return SPREAD_LOGITS / spread if spread > 0 else self.encoder.logit_scale

    def references(self, bounded: bool) -> tuple[float, Float32]:
        """Factor from cosine to logit, and content-free vectors, of answers by texts.

        Args:
            bounded: Whether nothing was fitted, neither to the encoder nor by the user.
        """
        if bounded:
            return self.logit_scale, self.blank
        return self.encoder.logit_scale, self.content_free

    def moment(self, probability: Float64) -> Float64:
        """Stated probabilities (N,) of moments, see ``LibraryModel``; unfitted by ``_UNFITTED``."""
        return (self.asked or _UNFITTED).moment(probability)

    def prepare(self) -> None:
        """Encode what every answer is compared with, which the first answer would wait for."""
        _ = self.background, self.query_background, self.content_free

    def scorer(self, concepts: Float32, background: Float32, mode: str = "one") -> LabelScorer:
        """The rule without bounds, which calibrations are fitted on, against concepts (C, D).

        Args:
            concepts: (C, D) float32 unit vectors of labels.
            background: (B, D) float32 unit vectors of everyday actions.
            mode: ``one`` label fits or none, or ``multi``: each label for itself.
        """
        return make_scorer(
            concepts,
            background,
            mode=mode,
            logit_scale=self.encoder.logit_scale,
            content_free=self.content_free,
            parts=getattr(self.encoder, "part_shares", ()),
        )

    def everyday(self, vectors: Float32) -> Float64 | None:
        return self._everyday.everyday(vectors) if self._everyday is not None else None

    @cached_property
    def _everyday(self) -> AskedScorer | None:
        """A scorer with the background of all queries; None where they have none."""
        if self.encoder.asked is None or not len(self.background):
            return None
        scorer = self._match_scorer(self.background[0])
        return scorer if isinstance(scorer, AskedScorer) else None

    def match_probability(
        self, vectors: Float32, query: Float32, everyday: Float64 | None = None
    ) -> Float64:
        scorer = self._match_scorers.keep(query.tobytes(), lambda: self._match_scorer(query))
        if isinstance(scorer, AskedScorer):
            return scorer.score(vectors, everyday).probability[:, 0]
        return scorer.score(vectors).probability[:, 0]

    def _match_scorer(self, query: Float32) -> ZeroShotScorer | AskedScorer:
        scale, constants = self.logit_scale, self.encoder.asked
        if constants is None:
            return match_scorer(
                query, self.query_background, logit_scale=scale, content_free=self.blank,
                bounded=True,
            )  # fmt: skip
        return AskedScorer(
            query[None],
            self.background,
            logit_scale=scale,
            content_free=self.content_free,
            curve=EvidenceCurve(constants.discount, constants.slope, constants.offset),
        )

    @cached_property
    def _match_scorers(self) -> Recent:
        """One a query: it scores batch after batch."""
        return Recent(_KEPT_SCORERS)


def _as_one(encoded: Sequence[Encoded]) -> Encoded:
    if len(encoded) == 1:
        return encoded[0]
    mean = np.mean([row.vector for row in encoded], axis=0)
    return replace(encoded[0], vector=unit(mean))


def encoded_span(views: Views, rows: Sequence[Encoded]) -> EncodedSpan:
    """The span of views, with the mean of their rows."""
    first, lost = views[0], lost_share(views)
    is_synthetic = bool(first.meta.get("synthetic"))
    return EncodedSpan(
        first.path, first.window, _as_one(rows), lost, failed_parts(views), is_synthetic
    )


def lost_share(views: Views) -> float:
    """Share (0 to 1) of the frames of a span's views that could not be read or may be wrong."""
    return sum(clip.lost for clip in views) / len(views)


def concept_vectors(
    encoder: Encoder, texts: Sequence[str], templates: Sequence[str], role: Role = "label"
) -> Float32:
    """Concept vectors of label texts or phrases.

    Args:
        encoder: The text tower.
        texts: C texts as a person would write them.
        templates: P templates with one ``{}`` each.
        role: What the texts are for; it counts where the encoder has ``two_roles``.

    Returns:
        (C, D) float32 of unit length.
    """
    if not texts:
        return np.zeros((0, encoder.dim), np.float32)
    _report_cut(encoder, texts, templates)
    if len(texts) < _WORTH_KEEPING:
        return _encode(encoder, texts, templates, role)
    key = json.dumps([list(templates), list(texts), *([role] if encoder.two_roles else [])])
    shape = (len(texts), encoder.dim)

    def make() -> Float32:
        name, n_texts = encoder.name.partition("?")[0], len(texts) * len(templates)
        with stage(f"encoding {n_texts:,} texts by {name}, once"):
            return _encode(encoder, texts, templates, role)

    return cached_vectors(encoder, key, shape, make)


def _encode(
    encoder: Encoder, texts: Sequence[str], templates: Sequence[str], role: Role
) -> Float32:
    filled = fill(templates, texts)
    flat = [prompt for prompts in filled for prompt in prompts]
    vectors = encoder.encode_in_role(flat, role)
    check_finite(vectors, [f"text {text!r}" for text in flat], encoder)
    vectors = vectors.reshape(len(texts), len(templates), encoder.dim)
    return vectors[:, 0] if len(templates) == 1 else unit(vectors.mean(axis=1))


def _report_cut(encoder: Encoder, texts: Sequence[str], templates: Sequence[str]) -> None:
    """Warn once of each text that the text tower does not read to its end."""
    around = max(map(len, templates), default=0)
    for text in texts:
        # A token is at least one character, so short texts need no count.
        if len(text) + around + 2 <= encoder.max_tokens:
            continue
        longest = max(fill(templates, [text])[0], key=len)
        tokens = encoder.count_tokens(longest)
        if tokens > encoder.max_tokens:
            _warn_cut(text[:40], tokens, encoder.name, encoder.max_tokens)


@lru_cache(maxsize=1024)
def _warn_cut(text: str, tokens: int, name: str, limit: int) -> None:
    _log.warning(
        "%r... has %d tokens; %s reads the first %d, the rest is ignored: shorten it",
        text,
        tokens,
        name,
        limit,
    )


def described_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    described: Sequence[Described],
    templates: Sequence[str],
    mixes: Sequence[BlockMix],
) -> Float32:
    """Concept vectors of labels with descriptions; a label without any goes by its name.

    Args:
        encoder: The text tower.
        texts: C label texts.
        described: C mappings of kind to descriptions.
        templates: P templates, for the names.
        mixes: What each block is made of; a block without one goes by names.

    Returns:
        (C, D) float32 of unit length.
    """
    names = concept_vectors(encoder, texts, templates)
    kinds = sorted({kind for mix in mixes for kind in mix.kinds} - {_NAME})
    used = [{kind: row[kind] for kind in kinds if kind in row} for row in described]
    if not any(used):
        return names

    def make() -> Float32:
        return _mixed(encoder, names, used, mixes)

    if sum(len(texts_of_kind) for row in used for texts_of_kind in row.values()) < _WORTH_KEEPING:
        return make()
    recipe = [[mix.block, dict(mix.kinds), mix.weight] for mix in mixes]
    key = json.dumps(["described", list(templates), list(texts), used, recipe])
    return cached_vectors(encoder, key, names.shape, make)


def _mixed(
    encoder: Encoder, names: Float32, used: Sequence[Described], mixes: Sequence[BlockMix]
) -> Float32:
    vectors = names.copy()
    blocks = {block.name: block for block in encoder.blocks}
    starts = dict(zip(blocks, np.cumsum([0, *(b.width for b in blocks.values())]), strict=False))
    for mix in mixes:
        if mix.block not in blocks:
            continue
        part = slice(starts[mix.block], starts[mix.block] + blocks[mix.block].width)
        texts = dict.fromkeys(t for row in used for kind in mix.kinds for t in row.get(kind, ()))
        rows = encoder.encode_text_block(list(texts), mix.block)
        vectors_by_text = dict(zip(texts, unit(rows), strict=True))
        for row, texts_of_kinds, name in zip(vectors, used, names, strict=True):
            if texts_of_kinds:
                row[part] = _mean(name[part], texts_of_kinds, vectors_by_text, mix)
    return unit(vectors)


def _mean(name: Float32, own: Described, found: Mapping[str, Float32], mix: BlockMix) -> Float32:
    total = mix.kinds.get(_NAME, 0.0) * unit(name)
    for kind, weight in mix.kinds.items():
        if own.get(kind):
            total = total + weight * unit(np.mean([found[text] for text in own[kind]], axis=0))
    # The name's own length is the block's share; a block that the name leaves zero stays zero.
    return unit(total) * (mix.weight * np.linalg.norm(name))
