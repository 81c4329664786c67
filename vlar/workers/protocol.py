"""The messages between a program and its worker processes."""

from __future__ import annotations

READY = b"R"
"""From the worker: it takes jobs."""
JOB = b"J"
"""To the worker: a function, its arguments and the seconds it may take."""
ITEM = b"I"
"""From the worker: the next result."""
TAKEN = b"T"
"""To the worker: a result has been copied out."""
END = b"E"
"""From the worker: the job is done."""
ERROR = b"X"
"""From the worker: the exception that ended the job."""

EXIT_MEMORY = 86
"""Exit code of a worker that took too much memory."""
EXIT_ALONE = 87
"""Exit code of a worker whose program is gone."""
