"""Results as tables: Arrow, pandas, CSV and Parquet hold what ``to_dict`` gives."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import vlar
from tests.refusals import refused
from vlar.errors import UsageError
from vlar.results import ANSWER_COLUMNS, TableFile, cell
from vlar.types import Classification, Copy, Failure, Hit, HitPart, Prediction

HIT = Hit(
    *(1, "/a.mp4", 0.0, 4.0, 0.5, 0.5, 0.2),
    tags={"place": "gym"},
    parts=(HitPart("a cup", 0.0, 4.0, 0.5, 0.2),),
    also=(Copy("/b.mp4", 0.0, 4.0),),
    caption="a man runs",
    track=2,
    box=(0.0, 0.25, 0.5, 1.0),
    box_s=2.0,
)
ANSWER = Classification(
    *(Path("/a.mp4"), 0.0, 4.0, "lite"),
    (Prediction("run", 0.6, 0.2, "Run"), Prediction("=walk", 0.3, 0.1)),
    unknown=True,
    unknown_probability=0.1,
)
FAILED = Failure(Path("/c.mp4"), "decode", "/c.mp4: cut short")


def test_hits_as_arrow_and_pandas():
    pytest.importorskip("pyarrow")
    rows = vlar.Results([HIT])
    table = rows.to_arrow()
    assert table.column_names[:4] == ["rank", "path", "start_s", "end_s"]
    assert table.to_pylist(maps_as_pydicts="strict")[0] == {**HIT.to_dict()}
    frame = rows.to_pandas()
    assert frame.loc[0, "tags"] == {"place": "gym"}
    assert rows.to_dicts() == [HIT.to_dict()]
    assert vlar.Results([]).to_arrow().num_rows == 0


def test_answers_and_failures_share_a_table():
    pytest.importorskip("pyarrow")
    frame = vlar.Results([ANSWER, FAILED]).to_pandas()
    assert tuple(frame.columns) == ANSWER_COLUMNS
    assert list(frame["label"].fillna("")) == ["run", ""]
    assert frame.loc[1, "error_kind"] == "decode"
    assert [p["label"] for p in frame.loc[0, "predictions"]] == ["run", "=walk"]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_files_hold_the_rows(tmp_path: Path, ending: str):
    file = tmp_path / f"t{ending}"
    if ending == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    with TableFile(file) as table:
        for _ in range(3):
            table.write(ANSWER)
        table.write(FAILED)
    if ending == ".parquet":
        rows = parquet.read_table(file).to_pylist()
    else:
        rows = list(csv.DictReader(file.open(encoding="utf-8")))
        assert json.loads(rows[0]["predictions"])[1]["label"] == "=walk"
    assert [row["path"] for row in rows] == ["/a.mp4"] * 3 + ["/c.mp4"]
    assert [str(row["unknown"]).lower() for row in rows[:3]] == ["true"] * 3


def test_what_was_written_before_an_interruption_is_kept(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")

    def interrupted() -> None:
        with TableFile(tmp_path / "t.parquet") as table:
            table.write(ANSWER)
            raise KeyboardInterrupt

    refused(KeyboardInterrupt, "", interrupted)
    assert parquet.read_table(tmp_path / "t.parquet").num_rows == 1


def test_a_cell_never_starts_a_formula():
    assert cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert cell("+1") == "'+1"
    assert cell(-1.5) == -1.5
    assert cell("plain = text") == "plain = text"


def test_faults(tmp_path: Path):
    refused(UsageError, "ends in", TableFile, tmp_path / "t.xlsx")
    refused(UsageError, "cannot be written", TableFile, tmp_path / "none" / "t.csv")
