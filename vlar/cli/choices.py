"""Options that take a name: shown in the help, completed by the shell, refused with the nearest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vlar import registry


@dataclass(frozen=True)
class Choices:
    """The names that an option takes; they are looked up when they are needed, not before.

    Used as metadata of an option: ``Annotated[str, typer.Option("--method"), METHODS]``.

    Attributes:
        what: What a message calls one of them: ``method``.
        known: Gives the names.
    """

    what: str
    known: Callable[[], Iterable[str]]

    @staticmethod
    def of_kinds(what: str, *kinds: str, also: Iterable[str] = ()) -> Choices:
        """The names of all parts of some kinds, and ``also`` others, which come first."""
        first = tuple(also)
        return Choices(what, lambda: [*first, *(n for k in kinds for n in registry.names(k))])

    def names(self) -> list[str]:
        """All names, each once."""
        return list(dict.fromkeys(self.known()))

    def listing(self) -> str:
        """One sentence for the help."""
        return f"One of: {', '.join(self.names())}."

    def check(self, value: str | None) -> None:
        """Refuse a value that is not a name; ``NAME:ARGUMENT`` is checked by its name.

        Raises:
            UnknownNameError: it is none; the message names the nearest.
        """
        if value is None:
            return
        names = self.names()
        if value.partition(":")[0] not in names:
            raise registry.unknown_name(self.what, value, names)

    def complete(self, incomplete: str) -> list[str]:
        """The names that begin as the text on the command line does."""
        return [name for name in self.names() if name.startswith(incomplete)]
