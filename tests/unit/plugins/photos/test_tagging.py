"""Tags from sidecars and names, and found labels given back, without a trace left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.errors import LibraryError, UsageError
from vlar.formatting import counted
from vlar.library.library import Library
from vlar.model.model import Model
from vlar.plugins.photos.sidecars import keywords, remove_keywords, write_keywords
from vlar.plugins.photos.tagging import tag_library
from vlar.types import Classification, Failure, Prediction

DIGIKAM = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/">
   <dc:subject><rdf:Bag><rdf:li>Anna</rdf:li><rdf:li>beach</rdf:li></rdf:Bag></dc:subject>
   <digiKam:TagsList><rdf:Seq><rdf:li>People/Anna</rdf:li></rdf:Seq></digiKam:TagsList>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>People|Anna</rdf:li></rdf:Bag></lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def test_keywords_come_and_go_and_all_else_stays(tmp_path: Path):
    clip, sidecar = tmp_path / "a.mp4", tmp_path / "a.xmp"
    clip.write_bytes(b"video")
    assert keywords(clip) == []
    sidecar.write_text(DIGIKAM)
    assert keywords(clip) == ["beach", "People/Anna"]
    assert write_keywords(clip, ["cooking", "beach"]) == sidecar
    assert write_keywords(clip, ["cooking"]) == sidecar  # twice is once
    assert keywords(clip) == ["beach", "People/Anna", "vlar/cooking"]
    text = sidecar.read_text()
    assert 'xmp:Rating="4"' in text
    assert "<rdf:li>vlar|cooking</rdf:li>" in text
    assert remove_keywords(clip)
    assert keywords(clip) == ["beach", "People/Anna"]
    assert not remove_keywords(clip)
    assert "vlar" not in sidecar.read_text()
    assert clip.read_bytes() == b"video"


@pytest.mark.parametrize("place", ["x:xmpmeta", "rdf:RDF"])
def test_content_outside_the_description_stays(tmp_path: Path, place: str):
    clip, sidecar = tmp_path / "a.mp4", tmp_path / "a.mp4.xmp"
    write_keywords(clip, ["a"])
    text = sidecar.read_text().replace(f"</{place}>", f"<mine>of the user</mine></{place}>")
    sidecar.write_text(text)
    assert remove_keywords(clip)
    assert "<mine>of the user</mine>" in sidecar.read_text()


def test_a_sidecar_that_was_made_is_removed(tmp_path: Path):
    clip = tmp_path / "a.mp4"
    assert write_keywords(clip, ["a & b", "c"]).name == "a.mp4.xmp"
    assert keywords(clip) == ["vlar/a & b", "vlar/c"]
    assert remove_keywords(clip)
    assert list(tmp_path.iterdir()) == []


HOSTILE = {
    "entities": "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>",
    "deep": "<a>" * 200 + "</a>" * 200,
    "not XML": "\0\1\2",
    "no Description": "<x/>",
    "1 MB": "<a>" + " " * (1 << 20) + "</a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sidecars_end_in_one_line(tmp_path: Path, name: str):
    (tmp_path / "a.xmp").write_text(HOSTILE[name])
    refused(LibraryError, "not a readable XMP sidecar", keywords, tmp_path / "a.mp4")
    refused(LibraryError, "not a readable", write_keywords, tmp_path / "a.mp4", ["x"])
    assert (tmp_path / "a.xmp").read_text() == HOSTILE[name]


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "secret").write_text(DIGIKAM)
    (tmp_path / "a.mp4.xmp").symlink_to(tmp_path / "secret")
    refused(LibraryError, "it is a link", write_keywords, tmp_path / "a.mp4", ["x"])


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for number, name in enumerate(("gym/a", "gym/b")):
        tiny_video(tmp_path / "clips" / f"{name}.mp4", number, 2)
    library = Library(tmp_path / "lib.vlar", FakeModel())
    library.add(tmp_path / "clips")
    return library


def test_a_library_takes_tags_and_gives_labels(library: Library, tmp_path: Path):
    a, b = (tmp_path / "clips" / "gym" / f"{name}.mp4" for name in "ab")
    before = a.read_bytes()
    a.with_suffix(".xmp").write_text(DIGIKAM)
    b.with_suffix(".xmp").write_text("no")
    result = tag_library(library, take=("xmp", "names"))
    rows = {row.path: dict(row.tags) for row in library.videos()}
    assert rows[str(a)] == {"folder": "gym", "file": "a", "subject": "beach|People/Anna"}
    assert rows[str(b)] == {"folder": "gym", "file": "b"}
    assert [row.path for row in result.failed] == [b]
    model: Any = Answers({"a": {"snow": 0.95}})
    found = tag_library(library, [str(a)], labels=["snow", "sun"], model=model, xmp="write")
    assert (found.recordings, found.written) == (1, 1)
    assert keywords(a)[-1] == "vlar/snow"
    assert tag_library(library, [str(a)], xmp="remove").written == 1
    assert keywords(a) == ["beach", "People/Anna"]
    assert a.read_bytes() == before
    refused(UsageError, "no recording", tag_library, library, ["/example/none"])


class Answers:
    """Answers about recordings by the stems of their files; a text is a failure."""

    def __init__(self, shares: dict[str, dict[str, float] | str]) -> None:
        self.shares, self.labels = shares, []

    def classify(self, paths: Iterator[Path], labels: list[str]) -> Iterator[Any]:
        self.labels = labels
        for path in paths:
            shares = self.shares[path.stem]
            if isinstance(shares, str):
                yield Failure(path, "decode", shares)
                continue
            best = tuple(Prediction(label, share, 0.1) for label, share in shares.items())
            unknown = 1 - sum(shares.values())
            yield Classification(path, 0, 1, "lite", best, unknown > 0.5, unknown)


@pytest.mark.parametrize(
    ("shares", "label"),
    [
        ({"snow": 0.95, "sun": 0.03}, "snow"),
        ({"snow": 0.3, "sun": 0.1}, None),  # unknown
        ({"snow": 0.5, "sun": 0.5}, None),  # a tie
        ({"snow": 0.45, "sun": 0.3}, None),  # not sure
    ],
)
def test_a_label_is_the_answer_of_classify_and_no_answer_takes_the_tag_away(
    library: Library, shares: dict[str, float], label: str | None
):
    a, b = sorted(row.path for row in library.videos())
    library.tag({a: {"label": "old"}})
    model: Any = Answers({"a": shares, "b": "cut"})
    shown: list[int] = []

    def progress(count: int = 0, total: int | None = None) -> None:
        shown.append(count)

    result = tag_library(library, labels=["snow", "sun"], model=model, progress=progress)
    tags = {row.path: row.tags.get("label") for row in library.videos()}
    assert tags == {a: label, b: None}
    assert result.tagged == ({a: {"label": label}} if label else {})
    assert [str(row.path) for row in result.failed] == [b]
    assert (model.labels, shown) == (["snow", "sun"], [1, 1])


@pytest.mark.slow  # encodes three clips twice
def test_tag_and_classify_give_one_figure_for_one_question(
    tmp_path: Path, demo_clips: dict[str, Path], lite_model: Model
):
    paths = list(demo_clips.values())
    with Library(tmp_path / "lib.vlar", lite_model) as library:
        library.add(paths)
    labels = "playing the guitar, riding a bike, talking"
    done = invoke(["index", "tag", str(tmp_path / "lib.vlar"), "--labels", labels])
    assert done.exit_code == 0, done.stderr
    answers = {str(path): lite_model.classify(path, labels) for path in paths}
    sure = {p: a.label for p, a in answers.items() if a.predictions[0].probability >= 0.5}
    assert any(sure.values())
    with Library(tmp_path / "lib.vlar") as library:
        tags = {row.path: row.tags.get("label") for row in library.videos()}
    assert tags == {path: sure.get(path) for path in answers}
    assert f"{counted(sum(map(bool, sure.values())), 'recordings')} tagged" in done.stderr


def test_a_call_that_asks_for_nothing_is_refused(library: Library):
    done = invoke(["index", "tag", str(library.path)])
    assert done.exit_code == 2
    assert "nothing to do; give --take, --labels" in done.stderr
