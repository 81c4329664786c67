"""Named concepts: what judgements taught, kept in a library and used like a phrase.

A concept is words and the head that was learned on them (``vlar.library.query.feedback``). Its name
stands for both in every query of the library, with all operators.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from vlar.errors import UsageError
from vlar.library.connection import LibraryConnection
from vlar.library.query.candidates import Snapshot
from vlar.library.query.feedback import Head, TaughtModel, taught_head
from vlar.library.query.grammar import Leaf, Phrase, leaves
from vlar.library.query.plan import QueryRequest, make_plan
from vlar.library.store.base import LibraryStore
from vlar.model.library_model import LibraryModel
from vlar.numeric import unit
from vlar.types import Float32, Hit, JsonDict

_KEY = "concept:"  # in the manifest of the library, before the name
_MOST = 1000  # concepts of a library
_LONGEST = 100  # characters of a name


@dataclass(frozen=True)
class Concept:
    """A name for words and what judgements taught about them.

    Attributes:
        name: As queries write it.
        text: The words.
        fingerprint: Fingerprint of the model.
        yes: Number of judgements.
        no: Number of judgements.
        gain: Log odds that a cosine with the words is worth.
        offset: Log odds that are added to every row.
        shift: (D,) weights of a row's vector in log odds.
    """

    name: str
    text: str
    fingerprint: str
    yes: int
    no: int
    gain: float
    offset: float
    shift: Float32

    def head(self, words: Float32) -> Head:
        """The head on the vector (D,) of the words."""
        joined = unit(self.gain * words.astype(np.float64) + self.shift)
        return Head(words, self.shift, self.offset, joined, {}, self.gain)

    def to_dict(self) -> JsonDict:
        """JSON object of the command line."""
        return {"name": self.name, "text": self.text, "yes": self.yes, "no": self.no}

    def to_json(self) -> str:
        """The text that a library keeps."""
        vector = base64.b64encode(self.shift.astype("<f4").tobytes()).decode()
        numbers = {"gain": self.gain, "offset": self.offset, "shift": vector}
        return json.dumps({**self.to_dict(), "fingerprint": self.fingerprint, **numbers})

    @classmethod
    def from_json(cls, text: str) -> Concept | None:
        """The concept in a text; None where it is not one, as in a library of anybody."""
        try:
            facts = json.loads(text)
            shift = np.frombuffer(base64.b64decode(facts["shift"], validate=True), "<f4")
            numbers = float(facts["gain"]), float(facts["offset"])
            counts = int(facts["yes"]), int(facts["no"])
            name, text, made_by = (
                str(facts[key])[:2000] for key in ("name", "text", "fingerprint")
            )
        except (ValueError, TypeError, KeyError, binascii.Error):
            return None
        if not (np.isfinite(shift).all() and all(map(math.isfinite, numbers))):
            return None
        return cls(name, text, made_by, *counts, *numbers, shift.astype(np.float32))


def concepts(store: LibraryStore) -> dict[str, Concept]:
    """The concepts of a library by their names in small letters."""
    concepts_kept: dict[str, Concept] = {}
    for key, text in store.meta().items():
        if key.startswith(_KEY) and text and (concept := Concept.from_json(text)) is not None:
            concepts_kept[key.removeprefix(_KEY)] = concept
    return concepts_kept


def with_concepts(
    wanted: Sequence[Leaf], kept: Mapping[str, Concept], model: LibraryModel
) -> tuple[dict[Leaf, Float32], LibraryModel]:
    """The vector (D,) of each phrase that is the name of a concept, and a model that rates by them.

    Raises:
        UsageError: a concept belongs to another model than the library's.
    """
    named = {
        leaf: kept[leaf.text.casefold()]
        for leaf in wanted
        if isinstance(leaf, Phrase) and leaf.text.casefold() in kept
    }
    if not named:
        return {}, model
    for concept in named.values():
        if concept.fingerprint != model.fingerprint or len(concept.shift) != model.dim:
            raise UsageError(
                f"concept {concept.name!r} was taught to another state of the model; judge hits "
                f"again: vlar concept save LIBRARY {concept.name!r} {concept.text!r} --yes ..."
            )
    words = model.encode_queries([concept.text for concept in named.values()])
    heads = {
        leaf: concept.head(row) for (leaf, concept), row in zip(named.items(), words, strict=True)
    }
    taught = cast("LibraryModel", TaughtModel(model, list(heads.values())))
    return {leaf: head.query for leaf, head in heads.items()}, taught


def save(
    connection: LibraryConnection,
    name: str,
    text: str,
    yes: Sequence[Hit | int] = (),
    no: Sequence[Hit | int] = (),
) -> Concept:
    """Keep what judgements of the hits of a phrase teach under a name, which replaces an older one.

    Args:
        connection: The library.
        name: As queries will write it, up to 100 characters without quotes.
        text: The phrase that was judged.
        yes: Hits, or ids of rows, that show what is meant.
        no: Those that do not.

    Raises:
        UsageError: a name that cannot be used, or no judgement.
    """
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST or any(sign in name for sign in '"[]()^|='):
        raise UsageError(f"{name!r:.60} cannot name a concept: up to 100 characters, no brackets")
    plan = make_plan(QueryRequest(text, yes=tuple(yes), no=tuple(no)))
    (leaf,) = leaves(plan.tree) if plan.plain else (None,)
    if leaf is None or not plan.judged:
        raise UsageError("a concept is one phrase with judgements of its hits (--yes, --no)")
    with connection.alone():
        store, manifest = connection.nonempty()
        model = connection.models.loaded(manifest)
        if len(concepts(store)) >= _MOST:
            raise UsageError(f"the library has {_MOST} concepts; remove one: vlar concept remove")
        words = model.encode_queries([plan.phrase])[0]
        head = connection.searched(
            store,
            lambda cache: taught_head(Snapshot(store, manifest, model, cache), words, plan.judged)[
                0
            ],
        )
        count = sum(plan.judged.values())
        concept = Concept(
            name,
            plan.phrase,
            manifest.fingerprint,
            count,
            len(plan.judged) - count,
            head.gain,
            head.offset,
            head.shift,
        )
        with connection.writing() as writer, writer.transaction():
            writer.set_meta({_KEY + name.casefold(): concept.to_json()})
    return concept


def remove(connection: LibraryConnection, name: str) -> None:
    """Forget a concept.

    Raises:
        UsageError: the library has no concept of that name.
    """
    with connection.alone():
        store, _ = connection.nonempty()
        if name.casefold() not in concepts(store):
            raise UsageError(f"the library has no concept {name!r:.60}; see: vlar concept list")
        with connection.writing() as writer, writer.transaction():
            writer.set_meta({_KEY + name.casefold(): ""})
