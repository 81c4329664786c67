"""One line about the damaged rows of a library that an answer could not use."""

from __future__ import annotations

from collections.abc import Mapping

from vlar.library.store.sqlite import SqliteStore


def damage_line(store: SqliteStore) -> str | None:
    """The rows that the store left out since ``damaged`` was cleared; None without any."""
    if not store.damaged:
        return None
    first = min(store.damaged)
    owner = store.fetch("SELECT video_id FROM rows WHERE id = ?", (first,))
    path = store.paths([owner[0][0]]).get(owner[0][0]) if owner and _is_id(owner[0][0]) else None
    return line_of(str(store.file.parent), store.damaged, f" of {path}" if path else "")


def line_of(address: str, damaged: Mapping[int, str], of: str = "") -> str | None:
    """One line about damaged rows of a library, by id with the reason; None without any.

    Args:
        address: The library.
        damaged: The rows.
        of: Whose the first one is, such as `` of a.mp4``.
    """
    if not damaged:
        return None
    first, count = min(damaged), len(damaged)
    row = f"row {first}{of}"
    what = f"{row} is damaged ({damaged[first]}) and is not used"
    if count > 1:
        what = f"{count} rows are damaged and are not used, first {row} ({damaged[first]})"
    return f"{address}: {what}; run: vlar index verify {address} --repair"


def _is_id(value: object) -> bool:
    return isinstance(value, int)
