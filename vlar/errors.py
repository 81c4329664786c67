"""Every error vlar raises on purpose: what happened, the offending value, what to do.

The command line prints ``str(error)`` as one line and uses ``kind`` in JSON; a traceback reaches a
user only when vlar itself is wrong.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

_LONGEST = 500  # characters of a message; a value that others made may be of any length
_CUT = " ... "


def one_line(text: str) -> str:
    r"""A text as one line that shows control characters instead of obeying them.

    >>> one_line("a\n b\x1b[2J")
    'a b\\x1b[2J'
    """
    from vlar.formatting import escaped  # only where an error is shown

    line = escaped(" ".join(text.split()))
    if len(line) <= _LONGEST:
        return line
    half = (_LONGEST - len(_CUT)) // 2
    return f"{line[:half]}{_CUT}{line[-half:]}"


class VlarError(Exception):
    """Base of all errors a user can cause and fix. ``kind`` is its stable name in JSON output."""

    kind = "error"

    @property
    def message(self) -> str:
        """The full one-line text: what, the value, what to do."""
        return one_line(str(self))


class UsageError(VlarError):
    """An argument or option has no usable value (exit code 2)."""

    kind = "usage"


class UnknownNameError(UsageError):
    """A registered part, model, bank or template set of this name does not exist."""

    kind = "unknown_name"


class LabelError(UsageError):
    """A label list is empty, unreadable or otherwise unusable."""

    kind = "labels"


class SupportError(UsageError):
    """A support set cannot be adapted to."""

    kind = "support"


class DatasetError(UsageError):
    """A data set's files are missing, changed or malformed."""

    kind = "dataset"


class ProtocolError(UsageError):
    """A protocol cannot be run as it is written."""

    kind = "protocol"


class QueryError(UsageError):
    """A query or a filter cannot be understood."""

    kind = "query"


class PersonError(VlarError):
    """The person that was asked for is not among those found in a recording."""

    kind = "person"


class DecodeError(VlarError):
    """A video cannot be read. The message names the fault, the place, and the readable part."""

    kind = "decode"


class DecodeTimeout(DecodeError):  # noqa: N818 - the name users look for
    """A video did not yield its frames within the time limit."""

    kind = "timeout"


class MetricError(UsageError, ValueError):
    """Values that a metric is not defined for: nothing at all, NaN, sizes that differ."""

    kind = "metric"


class DecodeCrash(DecodeError):  # noqa: N818 - as above
    """The decoder crashed on a video; the worker process that it ran in is gone, nothing else."""

    kind = "crash"


class DecodeOutOfMemory(DecodeError):  # noqa: N818 - as above
    """Reading a video takes more memory than one file may take."""

    kind = "memory"


class ModelError(VlarError):
    """A model or its weights are missing, changed or malformed."""

    kind = "model"


class PackageError(ModelError, ImportError):
    """A library is not installed or cannot be imported. The message has the command of pip."""

    kind = "package"


class TrainingError(VlarError):
    """A training cannot go on."""

    kind = "training"


class LibraryError(VlarError):
    """A library cannot be opened, read or written."""

    kind = "library"


class EncoderMismatchError(LibraryError):
    """A library or model folder was made by another encoder than the loaded one."""

    kind = "encoder_mismatch"


class LibraryLockedError(LibraryError):
    """Another process is writing to the library."""

    kind = "locked"


class LabelConflictError(LibraryError):
    """The labels of a recording were changed since the caller read them."""

    kind = "labels_changed"


class TagConflictError(LibraryError):
    """A tag was changed since the caller read it."""

    kind = "tag_changed"


@contextmanager
def explained(error_type: type[VlarError], fault: str, fix: str = "") -> Generator[None]:
    """Context of reading or writing: an ``OSError`` leaves it as ``FAULT (CAUSE); FIX``.

    Args:
        error_type: Type of the error that is raised.
        fault: What happened, with the file: ``x.csv: cannot be written``.
        fix: What to do.
    """
    try:
        yield
    except OSError as error:
        advice = f"; {fix}" if fix else ""
        raise error_type(f"{fault} ({error.strerror or error}){advice}") from error
