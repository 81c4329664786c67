"""XMP sidecars of recordings: keywords of digiKam, Lightroom and others, read and written.

A sidecar is ``clip.mp4.xmp`` or ``clip.xmp`` next to ``clip.mp4``. Keywords that are written stand
in a list of vlar's own too, so that they, and nothing else, can be removed again. The recording
itself is never written to.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from vlar.errors import LibraryError
from vlar.files.opening import open_input
from vlar.files.reading import MB
from vlar.files.replacing import replacing
from vlar.segments.xml import parse, text_of

_SPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "vlar": "urn:vlar:tags:1",
}
_LISTS = (
    ("dc:subject", "Bag", ""),
    ("digiKam:TagsList", "Seq", "/"),
    ("lr:hierarchicalSubject", "Bag", "|"),
)
_OURS = ("vlar:written", "Bag", "")
_ROOT = "vlar"  # of the labels in hierarchies
_MOST, _LONGEST, _MOST_SPACES = 1000, 500, 100
_DECLARED = re.compile(rb'xmlns:([A-Za-z][\w.-]{0,40})="([^"<>&]{1,300})"')


def keywords(recording: Path) -> list[str]:
    """Keywords of the sidecar of a recording, a hierarchy as ``a/b``; none without a sidecar.

    Raises:
        LibraryError: the sidecar cannot be read.
    """
    path = sidecar_of(recording)
    if not path.is_file():
        return []
    root = _read(path)
    plain, *hierarchies = ([t.replace(mark, "/") if mark else t for t in _texts(root, name)]
                           for name, _, mark in _LISTS)  # fmt: skip
    deep = [text for texts in hierarchies for text in texts]
    leaves = {text.rpartition("/")[2] for text in deep if "/" in text}
    return list(dict.fromkeys([*(text for text in plain if text not in leaves), *deep]))


def write_keywords(recording: Path, labels: Sequence[str]) -> Path:
    """Add labels to the sidecar of a recording, or make one; what stands in it stays.

    Returns:
        The sidecar.

    Raises:
        LibraryError: it cannot be read or written.
    """
    path = sidecar_of(recording)
    root = _read(path) if path.is_file() else _new()
    before = set(_texts(root, "dc:subject")) - set(_texts(root, _OURS[0]))
    new = [label for label in dict.fromkeys(labels) if label not in before]
    for name, kind, mark in (*_LISTS, _OURS):
        rows = [f"{_ROOT}{mark}{label}" if mark else label for label in new]
        _append(root, name, kind, [row for row in rows if row not in _texts(root, name)])
    _write(path, root)
    return path


def remove_keywords(recording: Path) -> bool:
    """Remove what ``write_keywords`` added; a sidecar that then holds nothing is removed too.

    Returns:
        Whether there was anything.

    Raises:
        LibraryError: the sidecar cannot be read or written.
    """
    path = sidecar_of(recording)
    root = _read(path) if path.is_file() else _new()
    ours = _texts(root, _OURS[0])
    if not ours:
        return False
    for name, _, mark in (*_LISTS, _OURS):
        _drop(root, name, {f"{_ROOT}{mark}{label}" if mark else label for label in ours})
    shells = {_full(name) for name in ("x:xmpmeta", "rdf:RDF", "rdf:Description")}
    facts = {name for row in root.iter(_full("rdf:Description")) for name in row.attrib}
    if (
        facts - {_full("rdf:about")}
        or {row.tag for row in root.iter()} - shells
        or "".join(root.itertext()).strip()
    ):
        _write(path, root)
    else:
        path.unlink()
    return True


def sidecar_of(recording: Path) -> Path:
    """The sidecar of a recording: the one that exists, else ``NAME.ENDING.xmp``."""
    long, short = recording.with_name(f"{recording.name}.xmp"), recording.with_suffix(".xmp")
    return short if short.is_file() and not long.is_file() else long


def _read(path: Path) -> ET.Element:
    try:
        with open_input(path, MB, links=False, recording=True) as stream:
            data = stream.read()
        root = parse(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LibraryError(f"{path}: not a readable XMP sidecar: {reason}") from error
    for prefix, space in _DECLARED.findall(data)[:_MOST_SPACES]:
        with suppress(ValueError):  # of the kind that ElementTree makes itself
            ET.register_namespace(prefix.decode(), space.decode("utf-8", "replace"))
    if next(root.iter(_full("rdf:Description")), None) is None:
        raise LibraryError(f"{path}: not a readable XMP sidecar: it has no rdf:Description")
    return root


def _new() -> ET.Element:
    root = ET.Element(_full("x:xmpmeta"))
    rdf = ET.SubElement(root, _full("rdf:RDF"))
    ET.SubElement(rdf, _full("rdf:Description"), {_full("rdf:about"): ""})
    return root


def _write(path: Path, root: ET.Element) -> None:
    for prefix, space in _SPACES.items():
        ET.register_namespace(prefix, space)
    try:
        with replacing(path) as part:
            part.write_bytes(text_of(root))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LibraryError(f"{path}: cannot be written ({reason})") from error


def _full(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_SPACES[prefix]}}}{local}"


def _items(root: ET.Element, name: str) -> Iterable[tuple[ET.Element, ET.Element]]:
    """The items of a list, with the container of each."""
    for holder in root.iter(_full(name)):
        for container in holder:
            for item in container.findall(_full("rdf:li")):
                yield container, item


def _texts(root: ET.Element, name: str) -> list[str]:
    texts = (" ".join((item.text or "").split()) for _, item in _items(root, name))
    return [text[:_LONGEST] for text in texts if text][:_MOST]


def _append(root: ET.Element, name: str, kind: str, rows: Sequence[str]) -> None:
    if not rows:
        return
    container = next((box for holder in root.iter(_full(name)) for box in holder), None)
    if container is None:
        description = next(root.iter(_full("rdf:Description")))
        holder = ET.SubElement(description, _full(name))
        container = ET.SubElement(holder, _full(f"rdf:{kind}"))
    for row in rows:
        ET.SubElement(container, _full("rdf:li")).text = row


def _drop(root: ET.Element, name: str, texts: set[str]) -> None:
    for container, item in list(_items(root, name)):
        if " ".join((item.text or "").split()) in texts:
            container.remove(item)
    for description in root.iter(_full("rdf:Description")):
        for holder in description.findall(_full(name)):
            if not any(len(container) for container in holder):
                description.remove(holder)
