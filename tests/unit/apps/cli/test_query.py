from __future__ import annotations

from vlar.apps.cli import query
from vlar.library.query.plan import MIN_PROBABILITY


def test_the_command_hides_what_python_hides():
    assert query.MIN_PROBABILITY == MIN_PROBABILITY
