"""Several servers of one library: a folder each, and sessions that all of them know."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlar.apps.serve.access import COOKIE, Access
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.server import ServerFolder, default_folder
from vlar.errors import UsageError

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / name)


def test_each_server_has_a_folder_and_a_new_one_takes_that_of_a_stopped_one():
    first, second, other = (
        ServerFolder.for_library(name) for name in ("a.vlar", "a.vlar", "b.vlar")
    )
    assert first.path == default_folder("a.vlar")
    assert second.path.name == f"{first.path.name}-2"
    assert other.path == default_folder("b.vlar")
    first.close()
    assert ServerFolder.for_library("a.vlar").path == first.path
    assert first.path.stat().st_mode & 0o077 == 0


def test_an_address_of_milvus_names_the_same_folder_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    there = default_folder("milvus://db:19530/clips")
    monkeypatch.chdir(tmp_path)
    assert default_folder("milvus://db:19530/clips") == there
    assert there.name.startswith("clips-")


def test_a_named_folder_belongs_to_one_server(tmp_path: Path):
    taken = ServerFolder.named(tmp_path / "state")
    with pytest.raises(UsageError, match="in use by another server; give each server a folder"):
        ServerFolder.named(tmp_path / "state")
    taken.close()
    ServerFolder.named(tmp_path / "state").close()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="give another one with --state"):
        ServerFolder.named(tmp_path / "file")


def test_a_session_of_one_server_is_known_to_others_of_the_same_token():
    one, same, other = Access(TOKEN), Access(TOKEN), Access(TOKEN + "!")
    cookie = {"cookie": f"{COOKIE}={one.new_session()}"}
    one.check_token(cookie)
    same.check_token(cookie)
    with pytest.raises(ServeError, match="missing or wrong"):
        other.check_token(cookie)
