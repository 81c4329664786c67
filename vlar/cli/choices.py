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

    def check(self, value: str | list[str] | None) -> None:
        """Refuse values that are not names; ``NAME:ARGUMENT`` is checked by its name.

        Raises:
            UnknownNameError: a value is not a name; the message names the nearest.
        """
        names = self.names()
        for one in [value] if isinstance(value, str) else value or ():
            name = one.partition(":")[0]
            if name not in names:
                raise registry.unknown_name(self.what, name, names)

    def complete(self, incomplete: str) -> list[str]:
        """The names that begin as the text on the command line does."""
        return [name for name in self.names() if name.startswith(incomplete)]
