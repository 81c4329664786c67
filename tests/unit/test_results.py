"""Results as tables: Arrow, pandas, CSV and Parquet hold what ``to_dict`` gives."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import vlar
from tests import videos
from tests.refusals import refused
from vlar import notebook
from vlar.apps.cli import output
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


EVIL = "<script>alert(1)</script>\x1b[2J"


def test_answers_print_as_the_command_line_does(capsys):
    for row, show in ((ANSWER, output.classification), (HIT, output.hit)):
        show(row)
        assert str(row) == capsys.readouterr().out.rstrip("\n")
    assert str(vlar.Results([ANSWER, FAILED])) == f"{ANSWER}\n{FAILED}"
    assert str(FAILED) == "/c.mp4: cut short"
    several = replace(ANSWER, unknown=False, unknown_probability=0.4)  # they do not exclude
    assert "unknown:" not in str(several).splitlines()[0]
    assert ANSWER.probabilities == {"run": 0.6, "=walk": 0.3, "unknown": 0.1}


def test_notebooks_show_pictures_and_escape_everything(tmp_path):
    clip = videos.make_video(tmp_path / "a&b.mp4", 10)
    vlar.read_clip(clip, n_frames=2)  # the reader brings the pictures
    answer = replace(
        ANSWER, path=clip, end_s=0.4, predictions=(Prediction(EVIL, 0.6, 0.2),), notes=(EVIL,)
    )
    hit = replace(HIT, path=str(clip), box_s=0.2, caption=EVIL, tags={EVIL: EVIL})
    rows = vlar.Results([hit] * 130)
    for shown in (answer, hit, replace(FAILED, message=EVIL), rows):
        text = shown._repr_html_()
        assert "<script" not in text
        assert "\x1b" not in text
        assert text.count("<div") == text.count("</div>")
    assert "data:image/jpeg;base64," in answer._repr_html_()
    assert "<meter" in answer._repr_html_()
    assert rows._repr_html_().count("<img") == notebook.MOST_PICTURES
    assert "and 30 more" in rows._repr_html_()
    for path in (tmp_path / "gone.mp4", Path(__file__)):  # moved, and not a video
        assert "<img" not in replace(answer, path=path)._repr_html_()
    assert "(no results)" in vlar.Results([])._repr_html_()


def test_a_bar_moves_in_a_notebook_and_is_nowhere_else(monkeypatch):
    assert notebook.bar("adding") is None
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html.data)

    shell = SimpleNamespace(kernel=object())
    kernel = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    display = SimpleNamespace(
        HTML=lambda data: SimpleNamespace(data=data), display=lambda html, display_id: Handle()
    )
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    bar = notebook.bar("adding <files>")
    bar(total=4)
    bar(1)
    assert shown[-1] == '<progress max="4" value="1"></progress> adding &lt;files&gt;: 1 of 4'
    shell.kernel = None  # IPython in a terminal
    assert notebook.bar("adding") is None
