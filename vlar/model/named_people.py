"""Examples that are about one person: the person's cut stands for the whole picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vlar.detecting.focus import Focus, make_focus
from vlar.errors import PersonError
from vlar.fewshot.support import SupportItem
from vlar.sensors import Views
from vlar.sensors.base import Reader
from vlar.types import Failure


def about(
    spans: Iterable[Views | Failure], items: Sequence[SupportItem], source: Reader
) -> Iterator[Views | Failure]:
    """The views of examples; those with a ``who`` are cut around that person.

    Args:
        spans: The views of each example.
        items: The examples in the same order.
        source: Reads a recording again where a detector needs more of it.

    Yields:
        Views as they came for examples of the whole picture; a Failure where the person is not
        there.
    """
    if not any(item.who for item in items):
        yield from spans
        return
    known: dict[str, Focus] = {}
    for views, item in zip(spans, items, strict=True):
        if isinstance(views, Failure) or not item.who:
            yield views
            continue
        focus = known.get(item.who) or make_focus(item.who)
        assert focus is not None  # a phrase always asks for a focus
        known[item.who] = focus
        yield _cut(views, focus, item, source)


def _cut(views: Views, focus: Focus, item: SupportItem, source: Reader) -> Views | Failure:
    try:
        found = [focus.find(clip, source).cut for clip in views]
    except PersonError as error:
        return Failure(item.path, error.kind, f"{item.path}: {error.message}")
    cuts = [cut for cut in found if cut is not None]
    if cuts:
        return cuts
    message = f"{item.path}: nobody is found, and the example is about {item.who!r}; leave it out"
    return Failure(item.path, PersonError.kind, message)
