from __future__ import annotations

from vlar.cli import query
from vlar.query.plan import MIN_PROBABILITY


def test_the_command_hides_what_python_hides():
    assert query.MIN_PROBABILITY == MIN_PROBABILITY
