"""Access to a server: hosts, tokens, and sessions that several servers share."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.apps.serve.access import COOKIE, VARIABLE, Access, is_loopback, token_for
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.server import ServerFolder, default_folder
from vlar.errors import UsageError

TOKEN = "a-token-of-some-length"


def status(check, *arguments, **named) -> int:
    try:
        check(*arguments, **named)
    except ServeError as problem:
        return 500 if TOKEN in problem.message else problem.status
    return 200


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1:8765", 200), ("localhost:8765", 200), ("[::1]:8765", 200), ("LOCALHOST", 200),
        ("192.168.1.7:80", 200), ("films.lan", 200), ("films.lan:1", 200),
        ("evil.example:8765", 421), ("", 421), ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421), ("evil.example:127.0.0.1", 421),
    ],
)  # fmt: skip
def test_a_name_of_somebody_else_is_refused(host: str, wanted: int):
    assert status(Access(None, ["films.lan"]).check_host, host) == wanted


@pytest.mark.parametrize(
    ("headers", "is_page", "wanted"),
    [
        ({"host": "h:1"}, False, 200),
        ({"host": "h:1", "origin": "http://h:1"}, False, 200),
        ({"host": "h:1", "origin": "http://evil.example"}, False, 403),
        ({"host": "h:1", "origin": "http://h:2"}, False, 403),
        ({"host": "h:1", "origin": "null"}, False, 403),
        ({"host": "h:1", "sec-fetch-site": "cross-site"}, False, 403),
        ({"host": "h:1", "sec-fetch-site": "same-site"}, False, 403),
        ({"host": "h:1", "sec-fetch-site": "same-origin"}, False, 200),
        ({"host": "h:1", "sec-fetch-site": "cross-site"}, True, 200),
    ],
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str], is_page: bool, wanted: int):
    assert status(Access(None).check_origin, headers, is_page=is_page) == wanted


def test_a_token_is_asked_for_where_there_is_one():
    access = Access(TOKEN)
    assert status(access.check_token, {}) == 401
    assert status(access.check_token, {"authorization": f"Bearer {TOKEN}"}) == 200
    assert status(access.check_token, {"authorization": f"bearer {TOKEN} "}) == 200
    assert status(access.check_token, {"authorization": f"Bearer {TOKEN}x"}) == 401
    assert status(access.check_token, {"authorization": f"Basic {TOKEN}"}) == 401
    assert status(Access(None).check_token, {}) == 200


@given(st.text(max_size=60))
def test_no_other_text_is_the_token(text: str):
    assert Access(TOKEN).is_token(text) == (text == TOKEN)
    assert not Access(None).is_token(text)


def test_a_session_stands_for_the_token_and_ends(monkeypatch: pytest.MonkeyPatch):
    access = Access(TOKEN)
    value = access.new_session()
    assert TOKEN not in value
    assert status(access.check_token, {"cookie": f"a=b; {COOKIE}={value}"}) == 200
    until, _, signature = value.partition(".")
    for forged in (f"{int(until) + 9}.{signature}", f"{until}.", until, "x.y", f"{until}.\xe9"):
        assert status(access.check_token, {"cookie": f"{COOKIE}={forged}"}) == 401
    assert status(Access(f"{TOKEN}x").check_token, {"cookie": f"{COOKIE}={value}"}) == 401
    monkeypatch.setattr(time, "time", lambda: float(until) + 1)
    assert status(access.check_token, {"cookie": f"{COOKIE}={value}"}) == 401


def test_beyond_loopback_a_token_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert token_for("127.0.0.1", None) is None
    assert token_for("::1", None) is None
    refused(UsageError, "token is required", token_for, "0.0.0.0", None)
    file = tmp_path / "token"
    made = token_for("0.0.0.0", str(file))
    assert made is not None
    assert len(made) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token_for("127.0.0.1", str(file)) == made
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert token_for("0.0.0.0", None) == TOKEN


def test_a_weak_token_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch):
    for weak in ("short", "x" * 20 + "\u00e9"):
        monkeypatch.setenv(VARIABLE, weak)
        problem = refused(UsageError, "", token_for, "0.0.0.0", None)
        assert weak not in problem.value.message


def test_loopback():
    assert is_loopback("127.1.2.3")
    assert not is_loopback("example.org")


SHARED = "0123456789abcdef"


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
    refused(UsageError, "give another one with --state", ServerFolder.named, tmp_path / "file")


def test_a_session_of_one_server_is_known_to_others_of_the_same_token():
    one, same, other = (Access(SHARED), Access(SHARED), Access(SHARED + "!"))
    cookie = {"cookie": f"{COOKIE}={one.new_session()}"}
    one.check_token(cookie)
    same.check_token(cookie)
    refused(ServeError, "missing or wrong", other.check_token, cookie)
