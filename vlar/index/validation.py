"""Validate the arguments of ``Library.add``: spans of time and tags."""

from __future__ import annotations

from collections.abc import Mapping

from vlar.errors import UsageError
from vlar.index.manifest import DEFAULT_STRIDE_S, DEFAULT_WINDOW_S
from vlar.index.paths import FILTER_KEYS, is_unicode
from vlar.index.store.row_check import MOST_SECONDS
from vlar.index.store.values import MOST_LETTERS


def check_span(window_s: float | None, stride_s: float | None, long_times: float | None) -> None:
    """Validate the window arguments.

    Raises:
        UsageError: a span is not a number above 0, or ``long_times`` not one from 1 to 100.
    """
    from vlar.video import windows

    # The sampler has the rule of a valid span; it raises UsageError.
    windows(
        1.0,
        DEFAULT_WINDOW_S if window_s is None else window_s,
        DEFAULT_STRIDE_S if stride_s is None else stride_s,
    )
    for name, span_s in (("window_s", window_s), ("stride_s", stride_s)):
        if span_s is not None and span_s >= MOST_SECONDS:
            raise UsageError(f"{name} is {span_s}; give less than {MOST_SECONDS:.0f} seconds")
    if long_times is not None and not 1.0 <= long_times <= 100.0:
        raise UsageError(f"long_times is {long_times}; give a number from 1 to 100")


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as text.

    Raises:
        UsageError: a key is empty, reserved, or one that ``--where`` could not name; or a key or
            a value is too long or not valid Unicode.
    """
    for key in tags:
        if not key.strip():
            raise UsageError("a tag has an empty key; write for example place=gym")
        if key in FILTER_KEYS:
            raise UsageError(f"the tag key {key!r} is reserved for --where; choose another")
        if set(key) & set("<>!="):
            raise UsageError(f"the tag key {key!r} holds one of < > ! =; choose another")
    held = {key: str(value) for key, value in tags.items()}
    for text in (*held.keys(), *held.values()):
        if len(text) > MOST_LETTERS:
            raise UsageError(f"a tag has {len(text)} letters; at most {MOST_LETTERS} are stored")
        if not is_unicode(text):
            raise UsageError(f"the tag {text!r:.80} is not valid Unicode; write it again")
    return held
