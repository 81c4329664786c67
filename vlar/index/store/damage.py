"""One line about the damaged rows of a library that an answer could not use."""

from __future__ import annotations

from vlar.index.store.database import Store


def damage_line(store: Store) -> str | None:
    """The rows that the store left out since ``damaged`` was cleared; None without any."""
    if not store.damaged:
        return None
    first, count = min(store.damaged), len(store.damaged)
    owner = store.fetch("SELECT video_id FROM rows WHERE id = ?", (first,))
    path = store.paths([owner[0][0]]).get(owner[0][0]) if owner and _is_id(owner[0][0]) else None
    row = f"row {first} of {path}" if path else f"row {first}"
    what = f"{row} is damaged ({store.damaged[first]}) and is not used"
    if count > 1:
        what = f"{count} rows are damaged and are not used, first {row} ({store.damaged[first]})"
    return f"{store.file.parent}: {what}; run: vlar index verify {store.file.parent} --repair"


def _is_id(value: object) -> bool:
    return isinstance(value, int)
