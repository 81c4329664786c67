"""The commands on a library in Milvus Lite, next to the same commands on a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.needed import needs

needs("pymilvus")
needs("milvus_lite")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(
    vlar_command, tmp_path_factory: pytest.TempPathFactory, sparse_clips: dict[str, Path]
) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("milvus")
    (place / "videos").mkdir()
    for clip in sparse_clips.values():
        shutil.copy(clip, place / "videos")
    addresses = str(place / "demo.vlar"), f"milvus:{place / 'm.db'}/demo"
    for address in addresses:
        done = vlar_command("index", "add", address, place / "videos", "--tag", "source=demo")
        assert (done.code, "3 added" in done.advice) == (0, True)
        again = vlar_command("index", "add", address, place / "videos")
        assert "3 unchanged; 0 new windows" in again.err
    return addresses


@pytest.mark.parametrize(
    "query",
    ["bicycles in street traffic", '"a bicycle" AND NOT "a cartoon"', '"a car" THEN "a bicycle"'],
)
def test_queries_give_the_same_lines(vlar_command, both: tuple[str, str], query: str):
    found = [
        vlar_command("query", address, query, "-k", 3, "--json", "--min-probability", 0)
        for address in both
    ]
    assert [done.code for done in found] == [0, 0]
    assert found[0].rows
    for one, other in zip(found[0].rows, found[1].rows, strict=True):
        for name in ("score", "probability", "similarity"):
            assert one.pop(name) == pytest.approx(other.pop(name), abs=2e-6)
        for name in ("parts", "row"):  # rows are numbered by each store
            one.pop(name, None)
            other.pop(name, None)
        assert one == other


def test_upkeep(vlar_command, both: tuple[str, str], tmp_path: Path):
    address = both[1]
    facts = vlar_command("index", "info", address, "--json").rows[0]
    assert (facts["path"], facts["videos"], facts["engine"]) == (address, 3, "milvus flat")
    assert len(vlar_command("index", "list", address, "--json").rows) == 3
    assert vlar_command("index", "verify", address).code == 0
    assert vlar_command("index", "compact", address, "--type", "hnsw").code == 0
    assert vlar_command("index", "compact", address, "--type", "diskann").code == 2
    for verb in ("unusual", "duplicates", "highlights"):
        assert vlar_command("index", verb, address).code == 0
    done = vlar_command("index", "export", address, tmp_path / "rows.parquet")
    assert done.code == 0
    back = vlar_command("index", "copy", address, tmp_path / "back.vlar", "--json")
    again = vlar_command("index", "copy", tmp_path / "back.vlar", f"{address}_2", "--json")
    assert back.rows[0]["digest"] == again.rows[0]["digest"]
    assert (back.rows[0]["copied"], again.rows[0]["copied"]) == (3, 3)
    removed = vlar_command("index", "remove", f"{address}_2", "/*bikes*")
    assert (removed.code, "1 recording removed" in removed.advice) == (0, True)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("milvus://127.0.0.1:1/demo", "no Milvus answers at milvus://127.0.0.1:1/demo"),
        ("milvus:{place}/none", "does not exist; create it"),
        ("milvus:demo", "is not an address of Milvus"),
    ],
)
def test_mistakes_end_in_one_line(vlar_command, both: tuple[str, str], address: str, advice: str):
    place = both[1].removeprefix("milvus:").rpartition("/")[0]
    done = vlar_command("query", address.format(place=place), "a dog")
    assert done.code == 2
    assert advice in done.advice
    assert done.out == ""
    assert len(done.notes.splitlines()) == 1
