"""``vlar query --yes 3 --no 1``: numbers of the plain list, or rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.library.query.test_figures_of_hits import AskedFake
from tests.unit.library.query.test_newcomer_errors import library_of
from vlar.apps.cli import judgements
from vlar.errors import UsageError
from vlar.library.query.plan import QueryRequest
from vlar.results import Hits


def test_numbers_of_the_plain_list_and_rows_are_judgements(tmp_path: Path):
    with library_of(tmp_path, AskedFake(), 12) as library:
        request = QueryRequest("a cat", 5)
        plain = library.search(request)
        judged = judgements.judged(library, request, ["3"], ["1", f"row:{plain[1].row}"])
        assert judged.yes == (plain[2].row,)
        assert judged.no == (plain[0].row, plain[1].row)
        assert judgements.judged(library, request, [], []) is request
        seventh = judgements.judged(library, request, ["7"], [])  # beyond what is shown
        assert seventh.yes == (library.query("a cat", 7)[6].row,)


@pytest.mark.parametrize("text", ["0", "x", "row:", "row:-1", "1.5", "\u0663", ""])
def test_what_is_not_a_hit_is_refused(tmp_path: Path, text: str):
    with library_of(tmp_path, AskedFake(), 3) as library:
        with pytest.raises(UsageError, match="give the number of a hit"):
            judgements.judged(library, QueryRequest("a cat"), [text], [])
        with pytest.raises(UsageError, match="the plain list has"):
            judgements.judged(library, QueryRequest("a cat"), [], ["999"])


@pytest.mark.parametrize(("text", "value"), [("10%", 0.1), ("0.1", 0.1), ("5 %", 0.05)])
def test_a_share_of_misses_is_read(text: str, value: float):
    assert judgements.share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0", "100%", "x", "nan", "-5%", ""])
def test_another_share_is_refused(text: str):
    with pytest.raises(UsageError, match="--miss"):
        judgements.share(text)


def test_what_decides_is_printed(capsys: pytest.CaptureFixture):
    judgements.note(Hits())
    judgements.note(Hits(decides={"objects": 0.3, "motion": 0.7}))
    assert capsys.readouterr().err == "vlar: the order goes by motion now (70% of it)\n"
