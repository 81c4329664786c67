"""Named concepts: what judgements taught, kept in a library and used like a phrase.

A concept is words and the head that was learned on them (``vlar.library.query.feedback``). Its name
stands for both in every query of the library, with all operators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from vlar.errors import UsageError
from vlar.language.concept import Concept as Concept
from vlar.library.cache import SearchCache
from vlar.library.connection import LibraryConnection
from vlar.library.query.candidates import Snapshot
from vlar.library.query.feedback import FeedbackHead, TaughtModel, taught_head
from vlar.library.query.grammar import Leaf, Phrase, leaves
from vlar.library.query.plan import QueryRequest, make_plan
from vlar.library.store.base import LibraryStore
from vlar.model.library_model import LibraryModel
from vlar.numeric import unit
from vlar.types import Float32, Hit

_KEY = "concept:"  # in the manifest of the library, before the name
_MOST = 1000  # concepts of a library
_LONGEST = 100  # characters of a name


def concepts(store: LibraryStore) -> dict[str, Concept]:
    """The concepts of a library by their names in small letters."""
    by_name: dict[str, Concept] = {}
    for key, text in store.meta().items():
        if key.startswith(_KEY) and text and (concept := Concept.from_json(text)) is not None:
            by_name[key.removeprefix(_KEY)] = concept
    return by_name


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
        leaf: _head(concept, row) for (leaf, concept), row in zip(named.items(), words, strict=True)
    }
    taught = cast("LibraryModel", TaughtModel(model, list(heads.values())))
    return {leaf: head.query for leaf, head in heads.items()}, taught


def _head(concept: Concept, words: Float32) -> FeedbackHead:
    """The head of a concept on the vector (D,) of its words."""
    joined = unit(concept.gain * words.astype(np.float64) + concept.shift)
    return FeedbackHead(words, concept.shift, concept.offset, joined, {}, concept.gain)


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
        text: The phrase that was judged; a concept learns more.
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
        raise UsageError("a concept is one phrase with judgements of its hits (yes, no)")
    with connection.alone():
        store, manifest = connection.nonempty()
        model = connection.models.loaded(manifest)
        if len(concepts(store)) >= _MOST:
            raise UsageError(f"the library has {_MOST} concepts; remove one: vlar concept remove")
        kept = concepts(store)
        named, rated = with_concepts([leaf], kept, model)
        words = named[leaf] if named else model.encode_queries([plan.phrase])[0]

        def learn(cache: SearchCache | None) -> FeedbackHead:
            return taught_head(Snapshot(store, manifest, rated, cache), words, plan.judged)[0]

        head, yes_count = connection.searched(store, learn), sum(plan.judged.values())
        no_count = len(plan.judged) - yes_count
        concept = Concept(
            name, plan.phrase, manifest.fingerprint, yes_count, no_count,
            head.gain, head.offset, head.shift,
        )  # fmt: skip
        if named:  # what it had learned before stays
            before = kept[plan.phrase.casefold()]
            concept = replace(
                before,
                name=name,
                yes=before.yes + yes_count,
                no=before.no + no_count,
                offset=before.offset + head.offset,
                shift=before.shift + head.shift,
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


class Concepts(Mapping[str, Concept]):
    """The concepts of a library, as they are now, by their names in small letters.

    Args:
        connection: The library.

    Raises:
        LibraryError: it is empty or damaged.
    """

    def __init__(self, connection: LibraryConnection) -> None:
        self._connection = connection
        self._read()

    def _read(self) -> None:
        with self._connection.mutex:
            self._kept = concepts(self._connection.nonempty()[0])

    def __getitem__(self, name: str) -> Concept:
        """The concept of a name, in any case."""
        return self._kept[name.casefold()]

    def __iter__(self) -> Iterator[str]:
        """Names in small letters."""
        return iter(self._kept)

    def __len__(self) -> int:
        """Number of concepts."""
        return len(self._kept)

    def save(
        self, name: str, text: str, *, yes: Sequence[Hit | int] = (), no: Sequence[Hit | int] = ()
    ) -> Concept:
        """Keep what judgements of the hits of a phrase teach; ``save`` of this module has all."""
        concept = save(self._connection, name, text, yes, no)
        self._read()
        return concept

    def remove(self, name: str) -> None:
        """Forget a concept.

        Raises:
            UsageError: the library has no concept of that name.
        """
        remove(self._connection, name)
        self._read()
