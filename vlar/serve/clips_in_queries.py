"""The clips that a query names with LIKE: confined to the roots, and read first in a process."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from vlar.query.grammar import leaves, parse, show
from vlar.query.grammar.tree import Like, Node
from vlar.serve.media import Media
from vlar.serve.sources import Source, Sources

_UPLOAD, _VIDEO = "upload:", "video:"


def with_files(text: str, sources: Sources, media: Media) -> str:
    """A query whose clips are files that may be read.

    ``LIKE upload:ID`` and ``LIKE video:ID`` name an upload and a recording of the library.

    Args:
        text: A query that can be parsed.
        sources: Finds the files.
        media: Reads their facts in a process that may crash or hang.

    Raises:
        ServeError, DecodeError: a clip lies outside the roots or cannot be read.
    """
    tree = parse(text)
    likes = [leaf for leaf in leaves(tree) if isinstance(leaf, Like)]
    if not likes:
        return text
    found: dict[Like, Like] = {}
    for like in likes:
        path, _ = sources.find(_source(like.path))
        media.facts(path)
        found[like] = replace(like, path=str(path))
    return show(_replaced(tree, found))


def _source(path: str) -> Source:
    if path.startswith(_UPLOAD):
        return Source(upload=path.removeprefix(_UPLOAD))
    if path.startswith(_VIDEO):
        return Source(video=path.removeprefix(_VIDEO))
    return Source(path=path)


def _replaced(node: Node, found: dict[Like, Like]) -> Any:
    """A tree with other clips; whatever the kind of node, its parts are nodes or tuples of them."""
    if isinstance(node, Like):
        return found[node]
    changed: dict[str, Any] = {}
    for each in fields(node):
        value = getattr(node, each.name)
        if isinstance(value, Node):
            changed[each.name] = _replaced(value, found)
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            changed[each.name] = tuple(_replaced(part, found) for part in value)
    return replace(node, **changed) if changed else node
