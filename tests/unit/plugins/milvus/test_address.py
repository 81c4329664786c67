from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.library.address import is_address, place_of
from vlar.plugins.milvus.address import MilvusAddress


def test_a_folder_is_a_path():
    assert place_of("gym.vlar") == Path("gym.vlar")
    assert place_of(Path("/a/milvus.db")) == Path("/a/milvus.db")
    assert not is_address("gym.vlar")


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("milvus://db.example:19531/gym", "http://db.example:19531"),
        ("milvus://localhost/gym", "http://localhost:19530"),
        ("milvus+tls://db.example/gym", "https://db.example:19530"),
        ("milvus://[::1]:19530/gym", "http://[::1]:19530"),
    ],
)
def test_a_server(text: str, uri: str):
    place = place_of(text)
    assert isinstance(place, MilvusAddress)
    assert (place.uri, place.name, place.embedded, str(place)) == (uri, "gym", False, text)
    assert place_of(Path(text)) == place  # a Path makes one slash of two


def test_a_folder_of_milvus_lite():
    place = place_of("milvus:data/clips.db/gym")
    assert isinstance(place, MilvusAddress)
    assert (place.uri, place.name, place.embedded) == (
        str(Path("data/clips.db").absolute()), "gym", True,
    )  # fmt: skip
    assert place_of("milvus:/data/clips.db/gym").uri == "/data/clips.db"  # type: ignore[union-attr]


def test_what_is_not_an_address_is_refused_in_one_line():
    for text in [
        "milvus:", "milvus://", "milvus://host", "milvus://host/", "milvus://host/a-b",
        "milvus://host:70000/gym", "milvus://host:x/gym", "milvus:gym", "milvus:clips.db",
        "milvus:clips.db/1st", "milvus:clips.db/" + "a" * 101, "milvus://user@host/gym",
    ]:  # fmt: skip
        raised = refused(UsageError, "write milvus://HOST:19530/NAME", place_of, text)
        assert "\n" not in str(raised.value)
