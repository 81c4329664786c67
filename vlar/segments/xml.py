"""XML of other people: no entities, bounded depth and size."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

DEEPEST = 40
_MOST = 20_000_000  # bytes
LARGE = 64_000_000
"""Bytes of a document of some hundred thousand annotations."""
_MOST_PARTS = 3_000_000  # tags and attributes, which take at most 160 bytes each in the tree
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def parse(data: bytes, most: int = _MOST) -> ET.Element:
    """The root of a document of at most some bytes.

    Raises:
        ValueError: it is not XML, has a document type (which entities need), is deeper than
            ``DEEPEST`` or too large.
    """
    if len(data) > most:
        raise ValueError(f"it has {len(data):,} bytes of XML; at most {most:,} are read")
    count = data.count(b"<") + data.count(b"=")
    if count > _MOST_PARTS:
        raise ValueError(f"it has {count:,} tags of XML; at most {_MOST_PARTS:,} are read")
    parser = ET.XMLParser(target=_Tree())
    try:
        parser.feed(data)
        root = parser.close()
    except ET.ParseError as error:
        raise ValueError(f"it is not XML ({error})") from None
    level = [root]
    for _ in range(DEEPEST):
        level = [child for element in level for child in element]
    if level:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return root


class _Tree(ET.TreeBuilder):
    """A tree of a document without a type, which entities need."""

    def doctype(self, *_: str | None) -> None:
        """Refuse it, in whatever encoding it is written."""
        raise ValueError("it declares a document type or entities; remove them")


def text_of(root: ET.Element) -> bytes:
    """The document in UTF-8.

    Raises:
        ValueError: a text has control characters, which XML cannot hold.
    """
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if _NO_TEXT.search(text):
                raise ValueError(f"{text[:40]!r} has control characters; remove them")
    ET.register_namespace("xsi", "http://www.w3.org/2001/XMLSchema-instance")
    ET.indent(root, "    ")
    return ET.tostring(root, "utf-8", xml_declaration=True) + b"\n"
