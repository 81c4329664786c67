"""``epic-kitchens``: actions in long egocentric videos as verb and noun (Damen et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import (
    TRAIN,
    VALIDATION,
    Dataset,
    Layout,
    Recordings,
    clip,
    number_of,
    text_hash,
)
from vlar.evaluation.datasets.table import rows_of
from vlar.fewshot.support import SupportItem
from vlar.registry import register
from vlar.types import Window

_NEEDED = ("participant_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class")
_KINDS = ("action", "verb", "noun")


@register("dataset", "epic-kitchens")
class EpicKitchens(Layout):
    """``EPIC_100_{train,validation}.csv``, ``EPIC_100_{verb,noun}_classes.csv``.

    Recordings are ``P01/videos/P01_01.MP4``, ``P01/P01_01.MP4`` or ``P01_01.MP4``. A clip is an
    action's span with the parts verb and object; a group is a participant. Option ``label``:
    ``action`` (verb and noun), ``verb`` or ``noun``.
    """

    options = ("label",)
    videos = ("videos", "EPIC-KITCHENS", "")

    def claims(self, root: Path) -> bool:
        """See ``Layout``."""
        return self.annotation(root, "EPIC_100_validation.csv", "EPIC_100_train.csv") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> Dataset:
        """See ``Layout``."""
        kind = str(options.get("label", "action"))
        if kind not in _KINDS:
            raise ProtocolError(f"layout 'epic-kitchens': label {kind!r} is not one of {_KINDS}")
        verbs = self._names(root, "EPIC_100_verb_classes.csv")
        nouns = self._names(root, "EPIC_100_noun_classes_v2.csv", "EPIC_100_noun_classes.csv")
        recordings, subsets, files = Recordings(root, self.videos), {}, {}
        for name, stem in ((TRAIN, "train"), (VALIDATION, "validation")):
            file = self.annotation(root, f"EPIC_100_{stem}.csv")
            if file is not None:
                files[file.name] = text_hash(file)
                subsets[name] = recordings.subset(_listed(file, verbs, nouns, kind))
        every = [i for subset in subsets.values() for i in (*subset.items, *subset.missing)]
        labels = tuple(sorted({item.label for item in every}))
        return Dataset("epic-kitchens", root, labels, subsets, files)

    def _names(self, root: Path, *names: str) -> dict[str, str]:
        file = self.needed(root, *names)
        return {row["id"]: row["key"] for _, row in rows_of(file, ("id", "key"))}


def _listed(
    file: Path, verbs: dict[str, str], nouns: dict[str, str], kind: str
) -> Iterator[tuple[SupportItem, list[str]]]:
    for line, row in rows_of(file, (*_NEEDED, "noun_class")):
        if row["verb_class"] not in verbs or row["noun_class"] not in nouns:
            raise DatasetError(
                f"{file}, line {line}: class {row['verb_class']}, {row['noun_class']} is not in "
                "the lists of verbs and nouns"
            )
        verb, noun = verbs[row["verb_class"]], nouns[row["noun_class"]]
        label = {"verb": verb, "noun": noun, "action": f"{verb} {noun}"}[kind]
        start, end = (_seconds(row[f"{at}_timestamp"], file, line) for at in ("start", "stop"))
        person, name = row["participant_id"], f"{row['video_id']}.MP4"
        item = clip([label], person, Window(start, end), {"verb": verb, "object": noun})
        yield item, [f"{person}/videos/{name}", f"{person}/{name}", name]


def _seconds(text: str, file: Path, line: int) -> float:
    """``00:01:02.30`` in seconds."""
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + number_of(part, file, line, "time")
    return total
