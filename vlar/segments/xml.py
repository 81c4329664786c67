"""XML of other people: no entities, bounded depth and size."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

DEEPEST = 40
_MOST = 20_000_000  # bytes; a tree may take thirty times that
_PIECE = 1 << 16
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def parse(data: bytes) -> ET.Element:
    """The root of a document.

    Raises:
        ValueError: it is not XML, has a document type (which entities need), is deeper than
            ``DEEPEST`` or too large.
    """
    if len(data) > _MOST:
        raise ValueError(f"it has {len(data):,} bytes of XML; at most {_MOST:,} are read")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("it declares a document type or entities; remove them")
    parser = ET.XMLPullParser(("start", "end"))
    depth = 0
    root: ET.Element | None = None
    try:
        for start in range(0, len(data), _PIECE):
            parser.feed(data[start : start + _PIECE])
            events: Iterator[Any] = parser.read_events()
            for kind, element in events:
                root = element if root is None else root
                depth += 1 if kind == "start" else -1
                if depth > DEEPEST:
                    raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        parser.close()
    except ET.ParseError as error:
        raise ValueError(f"it is not XML ({error})") from None
    if root is None or depth:
        raise ValueError("it is not a whole XML document")
    return root


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
