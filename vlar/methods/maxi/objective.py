"""``maxi``: clips without labels learn from bags of texts about what they probably show."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vlar import registry
from vlar.adapters.settings import setting
from vlar.encoders.captions import captions_of, load_captioner
from vlar.errors import LabelError, UsageError
from vlar.files.reading import MB, read_file
from vlar.language.clean import clean_label
from vlar.language.descriptions import descriptions_of
from vlar.language.labels import LabelList, parse_labels
from vlar.language.prompts import fill
from vlar.methods.clauses import verbs_in_text
from vlar.model.core import ModelCore
from vlar.model.label_heads import label_vectors
from vlar.registry import register
from vlar.training.data import Random
from vlar.training.objectives import Objective, Step, TrainingContext
from vlar.training.trainable import TextVectors

_NOT_OF_THE_LABEL = "contrast"  # this kind describes what a label is not
_MOST_BYTES = 64 * MB
_log = logging.getLogger("vlar")
Captioner = Callable[[Sequence[Path]], Sequence[Sequence[str]]]


def mil_nce(
    logits: Tensor, bag_size: int, labels: Tensor | None = None, *, both_ways: bool = False
) -> Tensor:
    """Multiple-instance contrast of clips with bags, as MAXI uses it (Lin et al., ICCV 2023).

    ``b_ij``, the share of bag j among all texts for clip i, is a sum of softmax entries. The loss
    is the mean of ``-log b_ij`` over the pairs of equal labels. Of n equal bags each gets 1/n at
    best, so the loss does not reach 0 there. With one text a bag and no labels it is InfoNCE.

    Args:
        logits: (B, B * M) scaled cosines; the M columns of a bag follow each other.
        bag_size: M.
        labels: (B,) integers; bags of equal labels fit too. None: each clip has its own bag alone.
        both_ways: Add the contrast of each bag's best text with all clips. The best text of a bag
            is the one that its own clip likes best.

    Raises:
        UsageError: the logits are not (B, B * M), or there is not one label a clip.
    """
    count = len(logits)
    if bag_size < 1 or logits.shape != (count, count * bag_size):
        raise UsageError(
            f"logits {tuple(logits.shape)} are not (B, B * M) with bags of {bag_size} texts; give "
            "one bag for each clip, all of one size"
        )
    if labels is not None and labels.shape != (count,):
        raise UsageError(f"labels {tuple(labels.shape)} for {count} clips; give one a clip")
    numbers = torch.arange(count, device=logits.device)
    named = numbers if labels is None else labels
    pairs = named[:, None] == named[None]
    bags = logits.unflatten(1, (count, bag_size))
    mass = logits.log_softmax(dim=1).unflatten(1, (count, bag_size)).logsumexp(dim=2)
    loss = -mass[pairs].mean()
    if both_ways:
        best = bags[numbers, numbers].argmax(dim=1)
        loss = loss - bags[:, numbers, best].log_softmax(dim=0)[pairs].mean()
    return loss


def expansions(dictionary: LabelList) -> list[tuple[str, ...]]:
    """Descriptions and aliases from the banks for each of C labels, without contrasts.

    A label that no bank has gets nothing: its bag is then its name. ``vlar describe`` writes a bank
    for such labels, by a language model or from tables.

    Args:
        dictionary: The labels; entries of their own bank count as well as the packaged ones.
    """
    aliases = {entry.text: entry.aliases for entry in dictionary.entries}
    described = descriptions_of(dictionary.texts, dictionary.entries)
    rows: list[tuple[str, ...]] = []
    for text, kinds in zip(dictionary.texts, described, strict=True):
        texts = [*aliases.get(text, ())]
        texts += [t for kind, texts in kinds.items() if kind != _NOT_OF_THE_LABEL for t in texts]
        rows.append(without_label(text, texts))
    return rows


def without_label(label: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words in order, each once, without those that read as the label itself."""
    cleaned = clean_label(label).casefold()
    stripped = (word.strip() for word in words)
    return tuple(dict.fromkeys(w for w in stripped if w and clean_label(w).casefold() != cleaned))


def draw_bag(words: Sequence[str], size: int, random: Random) -> list[str]:
    """Exactly ``size`` words of a bag: all of them as often as they go, then some without repeats.

    An empty bag gives empty words: the name of the label then stands alone.

    Args:
        words: The bag, without the name of the label.
        size: At least 1.
        random: Draws the remainder.
    """
    if not words:
        return [""] * size
    whole, remainder = divmod(size, len(words))
    drawn = list(words) * whole
    drawn.extend(words[int(i)] for i in random.permutation(len(words))[:remainder])
    return drawn


def bag_text(prompt: str, word: str) -> str:
    """A text of a bag: the label in its template, and the word.

    >>> bag_text("a photo of a clap.", "applaud")
    'a photo of a clap. applaud.'
    """
    end = prompt.rstrip().removesuffix(".")
    if not word:
        return prompt
    return f"{end}. {word.rstrip().removesuffix('.')}."


def read_captions(path: str | Path) -> dict[Path, list[str]]:
    """Captions of recordings: a CSV file with the columns ``path`` and ``caption``.

    A recording may have several rows. Relative paths start at the file.

    Raises:
        LabelError: the file cannot be read, or a column is missing.
    """
    file = Path(path).expanduser()
    try:
        text = read_file(file, _MOST_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise LabelError(f"{file}: captions cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{file}: not a CSV file of captions ({error})") from error
    captions: dict[Path, list[str]] = {}
    for number, row in enumerate(rows, 2):
        if not row.get("path") or not row.get("caption"):
            raise LabelError(
                f"{file}: line {number} lacks a path or a caption; write the columns path,caption"
            )
        try:
            clip_path = (file.absolute().parent / Path(row["path"]).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise LabelError(
                f"{file}: line {number} has the path {row['path'][:40]!r}, which cannot be one; "
                "write paths "
                "relative to the file"
            ) from error
        captions.setdefault(clip_path, []).append(row["caption"])
    if not captions:
        raise LabelError(f"{file}: no caption in it; write the columns path,caption")
    return captions


@register("objective", "maxi", status="in the spirit")
@dataclass
class Maxi(Objective):
    """Match, expand, improve (MAXI, Lin et al., ICCV 2023): no label is needed.

    Match: the model at its start guesses the label of each unlabelled clip among those of a
    dictionary; the surest share of the clips is kept. Expand: the bag of a clip holds what the
    banks have on the guessed label. Improve: verbs of the clip's own captions join it, where there
    are captions. Every step draws M texts of each bag, and each clip is to find the bags of its own
    label among all (``mil_nce``). The name of the label stands in
    every text.

    The paper's bags lack a text where a caption repeats the name; these always have M.

    Reference: Lin et al., "MAtch, eXpand and Improve: unsupervised finetuning for zero-shot action
    recognition with language knowledge", ICCV 2023.
    Example: ``vlar adapt --unlabelled more/ --objective maxi --dictionary bank:kinetics400 --out
    tuned``.

    Attributes:
        dictionary: The labels to guess from, as ``classify --labels`` takes them. Empty means
            those of the labelled clips.
        captions: CSV file of captions (path, caption) of the unlabelled clips, or a captioner
            (``concepts``, ``hf:FOLDER``) that writes them; empty for none.
        weight: Factor on the loss of the bags.
        ratio: Unlabelled clips in a batch for each labelled one, where there are labelled ones.
        size: M, texts drawn of a bag.
        share: Share of the clips whose guess is kept, the surest first.
        per_label: Keep that share of each guessed label, so that rare ones stay.
        temperature: Divides the cosines; 0 takes the encoder's own scale.
        both_ways: Also let the best text of each bag find its clip.
        captioner: Captions of clips in place of a file: paths to captions of each. Set in Python.
    """

    dictionary: str = ""
    captions: str = ""
    weight: float = setting(1.0, at_least=0)
    ratio: float = setting(1.0, above=0)
    size: int = setting(16, at_least=1, at_most=1024)
    share: float = setting(0.9, above=0, at_most=1)
    per_label: bool = False
    temperature: float = setting(0.0, at_least=0, at_most=10)
    both_ways: bool = False
    name: ClassVar[str] = "maxi"
    needs_unlabelled: ClassVar[bool] = True
    learns_alone: ClassVar[bool] = True
    captioner: Captioner | None = field(default=None, init=False, repr=False)
    guesses: dict[int, int] = field(default_factory=dict[int, int], init=False, repr=False)
    _labels: LabelList | None = field(default=None, init=False, repr=False)
    _bags: dict[int, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)
    _prompts: list[str] = field(default_factory=list[str], init=False, repr=False)
    _places: dict[str, int] = field(default_factory=dict[str, int], init=False, repr=False)
    _vectors: TextVectors | None = field(default=None, init=False, repr=False)
    _scale: float = field(default=1.0, init=False, repr=False)

    def labels(self) -> Sequence[str]:
        """The dictionary.

        Raises:
            UsageError: none is given.
            LabelError: it holds no label.
        """
        if not self.dictionary:
            raise UsageError(
                "objective 'maxi' without labelled clips needs a dictionary of actions; give "
                "--dictionary bank:kinetics400, or 'dictionary' in [objective.maxi]"
            )
        return parse_labels(self.dictionary).texts

    def begin(self, context: TrainingContext) -> None:
        """Guess the labels, and fill the bags.

        Raises:
            UsageError: no unlabelled clips are given, or the method has no texts to learn from.
            LabelError: the dictionary or the captions cannot be used.
        """
        clips = context.unlabelled
        if clips is None:
            raise UsageError("objective 'maxi' needs unlabelled clips; give a folder of them")
        labels = parse_labels(self.dictionary or list(context.texts))
        if len(labels) < 2:
            raise LabelError(
                f"{labels.source}: only the label {labels.labels[0]!r}; a dictionary of actions "
                "needs at least two to choose from"
            )
        encoder = context.method.wrapped
        core = ModelCore(encoder)
        # The encoder's own logits guess; those of the method at its start are the same or near.
        vectors, rows = clips.vectors()
        described = bool(encoder.descriptions)
        words = label_vectors(core, labels)[0] if described else core.encode_labels(labels.texts)
        logits = encoder.logit_scale * vectors @ words.T
        self.guesses = match(logits, rows, share=self.share, per_label=self.per_label)
        captions = self._captions([clips.paths[row] for row in self.guesses])
        self._fill(labels, captions)
        self._prompts = [prompts[0] for prompts in fill(core.prompts, labels.texts)]
        self._read_texts(context)
        self._scale = 1 / self.temperature if self.temperature else context.logit_scale
        sizes = [len(bag) for bag in self._bags.values()]
        _log.info(
            "maxi: %d of %d clips are kept, as %d of %d labels; bags of %.1f texts on average",
            len(self.guesses),
            len(clips.paths),
            len(set(self.guesses.values())),
            len(labels),
            float(np.mean(sizes)),
        )

    def _captions(self, paths: Sequence[Path]) -> Sequence[Sequence[str]]:
        """The captions of each kept clip."""
        if self.captioner is not None:
            return self.captioner(paths)
        if not self.captions:
            return [() for _ in paths]
        if self.captions.partition(":")[0] in registry.names("captioner"):
            return list(captions_of(paths, load_captioner(self.captions)))
        captions_by_path = read_captions(self.captions)
        resolved = [path.resolve() for path in paths]
        if not captions_by_path.keys() & set(resolved):
            raise LabelError(
                f"{self.captions}: none of its {len(captions_by_path)} paths is an unlabelled "
                f"clip (the first is {str(next(iter(captions_by_path)))!r}); write paths "
                "relative to the file"
            )
        return [captions_by_path.get(path, ()) for path in resolved]

    def _fill(self, labels: LabelList, captions: Sequence[Sequence[str]]) -> None:
        wide = expansions(labels)
        for (row, guess), caption in zip(self.guesses.items(), captions, strict=True):
            words = [
                *wide[guess],
                *(verb for caption in caption for verb in verbs_in_text(caption)),
            ]
            self._bags[row] = without_label(labels.texts[guess], words)

    def _read_texts(self, context: TrainingContext) -> None:
        """Number all texts that may be drawn, and let the method read them."""
        texts = {
            bag_text(self._prompts[guess], word): None
            for row, guess in self.guesses.items()
            for word in self._bags[row] or ("",)
        }
        self._places = {text: number for number, text in enumerate(texts)}
        self._vectors = context.method.text_vectors(list(texts))

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The contrast of the unlabelled clips with the bags of this step."""
        if step.batch.known is None or self._vectors is None:
            return {}
        free = (~step.batch.known).nonzero()[:, 0].tolist()
        numbered = zip(free, step.batch.free_rows, strict=True)
        pairs = [(number, row) for number, row in numbered if row in self.guesses]
        if not pairs:
            return {}
        places, rows = zip(*pairs, strict=True)
        texts = [text for row in rows for text in self.drawn(row, step.random)]
        words = self._vectors([self._places[text] for text in texts])
        clips = step.vectors[list(places)]
        logits = self._scale * clips @ words.to(clips).T
        guesses = torch.tensor([self.guesses[row] for row in rows], device=clips.device)
        loss = mil_nce(logits, self.size, guesses, both_ways=self.both_ways)
        return {"bags": self.weight * loss}

    def drawn(self, row: int, random: Random) -> list[str]:
        """M texts of the bag of an unlabelled clip."""
        prompt = self._prompts[self.guesses[row]]
        return [bag_text(prompt, word) for word in draw_bag(self._bags[row], self.size, random)]


def match(
    logits: np.ndarray, rows: Sequence[int], *, share: float, per_label: bool
) -> dict[int, int]:
    """The guessed label of each clip whose guess is sure enough.

    Args:
        logits: (n, C).
        rows: n numbers of the clips.
        share: Share of the clips that is kept, the surest first; at least one.
        per_label: Keep that share of each guessed label.

    Returns:
        Column by number of the clip, in the order of ``rows``.
    """
    guess = logits.argmax(axis=1)
    best = logits.max(axis=1)
    sure = -np.log(np.exp(logits - best[:, None]).sum(axis=1))
    rows_matched: set[int] = set()
    groups = (
        [np.flatnonzero(guess == c) for c in np.unique(guess)]
        if per_label
        else [np.arange(len(guess))]
    )
    for group in groups:
        order = group[np.argsort(-sure[group], kind="stable")]
        rows_matched |= set(order[: max(1, round(share * len(group)))].tolist())
    return {int(rows[i]): int(guess[i]) for i in range(len(rows)) if i in rows_matched}
