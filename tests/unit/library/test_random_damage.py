"""Random bytes of a library are changed: nothing but a result or one line, whatever is asked."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.command_line import invoke
from tests.unit.library import hostile as h
from tests.unit.library.fakes import FakeModel
from vlar.apps.cli import inputs
from vlar.library.store import schema

ASKED = ("query", "operators", "tag", "nearest", "list", "info", "verify", "compact")
DAMAGE = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = h.made(tmp_path_factory.mktemp("made") / "l.vlar")
    h.sql("PRAGMA wal_checkpoint(TRUNCATE)")(folder)
    return folder


def changed(file: Path, damage: list[tuple[float, int]], skipped: int = 0) -> None:
    """Change bytes at shares of the used part of a file, each by an exclusive or."""
    content = bytearray(file.read_bytes())
    used = [at for at in range(skipped, len(content)) if content[at]] or [0]
    for share, bits in damage:
        content[used[int(share * len(used))]] ^= bits
    file.write_bytes(content)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=DAMAGE, name=st.sampled_from([schema.FILE_NAME, "ann.faiss"]))
@example(damage=[(0.5, 0x40)], name=schema.FILE_NAME)
def test_a_changed_library_gives_results_or_one_line(
    original: Path, damage: list[tuple[float, int]], name: str
):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "l.vlar"
        shutil.copytree(original, folder)
        changed(folder / name, damage, skipped=100 if name == schema.FILE_NAME else 0)
        for verb in ASKED:
            h.used(folder, verb)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=DAMAGE)
def test_the_command_line_never_prints_a_traceback(
    original: Path, monkeypatch: pytest.MonkeyPatch, damage: list[tuple[float, int]]
):
    monkeypatch.setattr(inputs, "load_model", lambda *_: FakeModel())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "l.vlar"
        shutil.copytree(original, folder)
        changed(folder / schema.FILE_NAME, damage, skipped=100)
        for arguments in (
            ["query", str(folder), "a cat", "--min-probability", "0"],
            ["index", "list", str(folder)],
            ["index", "verify", str(folder), "--repair"],
            ["index", "verify", str(folder)],
        ):
            done = invoke(arguments)
            assert done.exit_code in (0, 1, 2)
            assert "Traceback" not in done.output
            assert "unexpected" not in done.output, done.output
