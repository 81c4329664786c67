"""Annotations of ELAN: ``.eaf`` of FORMAT 2.7 to 3.0."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import PurePath

from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.tables import seconds
from vlar.segments.xml import LARGE, parse, text_of

_Span = tuple[float, float]
_RECORDING = "vlar recording"  # of the header: a recording whose name is not that of the media
NAMELESS = "default"
"""Identifier of the tier of segments that have none."""
_LAST = "lastUsedAnnotationId"
_TYPE = "default-lt"
_SHARES = "vlar-probability"  # type of the tier below another one with its probabilities
_XSI = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
_CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps "
    "allowed within this interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Annotations refering to "
    "the same parent are ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps "
    "are allowed",
}


@register("annotation", "elan")
class Elan(AnnotationFormat):
    """ELAN: tiers with participant and annotator; dependent tiers take the times of their parents.

    Slots without a time lie between their neighbours at equal distances. An annotation without a
    value has the name of its tier as label.
    """

    endings = frozenset({".eaf"})
    default_for = frozenset({".eaf"})
    holds = frozenset({"recording", "subject", "tier", "rater", "probability"})
    adds = True
    loses = "times below 1 ms; overlaps within a tier move to a tier of their own"

    def claims(self, source: Source) -> bool:
        """Return whether it is a document of annotations."""
        return "<ANNOTATION_DOCUMENT" in source.head

    def read(self, source: Source, options: Options) -> Table:
        """All tiers; the recording is the first media file, else the file itself."""
        document = _Document(parse(source.data, LARGE))
        recording = document.recording or source.stem
        segments: list[Segment] = []
        tiers, below = document.tiers(_SHARES)
        shares = {
            row.get("ANNOTATION_REF", ""): seconds(document.value(row))
            for tier in below
            for row in tier.iter("REF_ANNOTATION")
        }
        for tier in tiers:
            name = tier.get("TIER_ID", "")
            for annotation in tier.iter():
                span = document.spans.get(annotation.get("ANNOTATION_ID", ""))
                if span is None or not annotation.tag.endswith("_ANNOTATION"):
                    continue
                start, end = span
                value = document.value(annotation)
                label, details = value or name, ()
                if options.label_from == "tier":
                    label, details = name, (value,) if value else ()
                person, rater = tier.get("PARTICIPANT", ""), tier.get("ANNOTATOR", "")
                segments.append(
                    Segment(
                        recording,
                        start,
                        end,
                        label,
                        person,
                        "" if name == NAMELESS else name,
                        rater,
                        details,
                        shares.get(annotation.get("ANNOTATION_ID", "")),
                    )
                )
        return Table(segments, tuple(document.notes), {recording: document.media})

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The document with annotations for segments that it does not have yet."""
        if existing is None:
            recording = segments[0].recording if segments else ""
            document = _Document(_empty(recording))
        else:
            document = _Document(parse(existing.data, LARGE))
        fresh = self.new_in(existing, segments, options, "tier", "subject", "rater")
        for tier, rows in groupby(sorted(fresh, key=_tier), key=_tier):
            document.add(tier, list(rows))
        document.sort_slots()
        others = {row.recording for row in fresh} - {document.recording or ""}
        if existing is not None and others:
            document.notes.append(f"recording {min(others)!r} is added to {document.recording!r}")
        return text_of(document.root), document.notes


def _tier(row: Segment) -> tuple[str, str, str]:
    return row.tier or NAMELESS, row.subject, row.rater


class _Document:
    """A document with the times of its annotations.

    Attributes:
        root: The element ANNOTATION_DOCUMENT.
        spans: Start and end in seconds by the id of the annotation.
        notes: What was assumed or left out.
    """

    def __init__(self, root: ET.Element) -> None:
        if root.tag != "ANNOTATION_DOCUMENT":
            raise ValueError("it is not an ANNOTATION_DOCUMENT")
        self.root = root
        self.notes: list[str] = []
        header = root.find("HEADER")
        if header is not None and header.get("TIME_UNITS", "milliseconds") != "milliseconds":
            raise ValueError(f"its times are in {header.get('TIME_UNITS')}, not in milliseconds")
        files = list(root.iter("MEDIA_DESCRIPTOR"))
        paths = [file.get("RELATIVE_MEDIA_URL") or file.get("MEDIA_URL") or "" for file in files]
        self.media = tuple(paths)
        self.recording = PurePath(paths[0].replace("\\", "/")).name if paths else ""
        for row in root.iter("PROPERTY"):
            self.recording = row.text or "" if row.get("NAME") == _RECORDING else self.recording
        origin = files[0].get("TIME_ORIGIN") if files else None
        if origin and float(origin):
            self.notes.append(
                f"its media begin {float(origin) / 1000:g} s late (TIME_ORIGIN); "
                "times are those of the annotations"
            )
        self._words = {
            entry.get("CVE_ID", ""): "".join(entry.itertext()).strip()
            for entry in (*root.iter("CV_ENTRY_ML"), *root.iter("CV_ENTRY"))
        }
        self._tiers = {tier.get("TIER_ID"): tier for tier in root.iter("TIER")}
        self.spans = self._aligned()
        self._dependent()
        self._slots = max(_numbers(root, "TIME_SLOT_ID", "ts"), default=0)
        last = int(root.findtext(f"HEADER/PROPERTY[@NAME='{_LAST}']") or 0)
        self._last = max([last, *_numbers(root, "ANNOTATION_ID", "a")])

    def tiers(self, kind: str) -> tuple[list[ET.Element], list[ET.Element]]:
        """Tiers of other types than one, and those of that type."""
        rows: tuple[list[ET.Element], list[ET.Element]] = [], []
        for tier in self.root.iter("TIER"):
            rows[tier.get("LINGUISTIC_TYPE_REF") == kind].append(tier)
        return rows

    def value(self, annotation: ET.Element) -> str:
        """Value of an annotation, else the word of the vocabulary that it refers to."""
        text = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
        return text or self._words.get(annotation.get("CVE_REF", ""), "")

    def _aligned(self) -> dict[str, _Span]:
        """Spans of annotations with slots; slots without a time are interpolated in their tier."""
        slots: dict[str, float | None] = {}
        for slot in self.root.iter("TIME_SLOT"):
            time = slot.get("TIME_VALUE")
            slots[slot.get("TIME_SLOT_ID", "")] = None if time is None else float(time) / 1000
        order = {name: index for index, name in enumerate(slots)}
        spans: dict[str, _Span] = {}
        for tier in self.root.iter("TIER"):
            keys = ("ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2")
            rows = [
                tuple(row.get(key, "") for key in keys) for row in tier.iter("ALIGNABLE_ANNOTATION")
            ]
            used = sorted({name for row in rows for name in row[1:]}, key=lambda n: order[n])
            times = _interpolated([slots[name] for name in used])
            by_name = dict(zip(used, times, strict=True))
            for identifier, first, last in rows:
                begin, end = by_name[first], by_name[last]
                if begin is None or end is None or end < begin:
                    self.notes.append(
                        f"annotation {identifier} has no usable times and is left out"
                    )
                    continue
                spans[identifier] = (begin, end)
        return spans

    def _dependent(self) -> None:
        """Spans of annotations that refer to a parent, parents first."""
        kinds = {
            kind.get("LINGUISTIC_TYPE_ID"): kind.get("CONSTRAINTS")
            for kind in self.root.iter("LINGUISTIC_TYPE")
        }
        waiting: dict[str, list[tuple[list[str], bool]]] = defaultdict(list)
        for tier in self.root.iter("TIER"):
            shares = kinds.get(tier.get("LINGUISTIC_TYPE_REF")) == "Symbolic_Subdivision"
            by_parent: dict[str, list[ET.Element]] = defaultdict(list)
            for row in tier.iter("REF_ANNOTATION"):
                by_parent[row.get("ANNOTATION_REF", "")].append(row)
            for parent, rows in by_parent.items():
                waiting[parent].append((_chain(rows), shares))
        timed = list(self.spans)
        while timed:  # each parent once
            parent = timed.pop()
            start, end = self.spans[parent]
            for names, shares in waiting.pop(parent, ()):
                step = (end - start) / len(names) if shares else 0.0
                for index, name in enumerate(names):
                    begin = start + index * step
                    last = index == len(names) - 1
                    self.spans[name] = (begin, end if last or not shares else begin + step)
                timed += names
        if waiting:
            lost = sum(len(names) for rows in waiting.values() for names, _ in rows)
            self.notes.append(f"{lost} annotations refer to none that has times: left out")

    def add(self, tier: tuple[str, str, str], rows: Sequence[Segment]) -> None:
        """Add annotations to the tier of a name, participant and annotator."""
        name, subject, rater = tier
        suffix = 1
        while rows:
            element = self._tier(name if suffix == 1 else f"{name}-{suffix}", subject, rater)
            suffix += 1
            if element is None:
                continue
            if suffix > 2:
                self.notes.append(
                    f"{len(rows)} segments of tier {name!r} go to tier {element.get('TIER_ID')!r}"
                )
            spans = sorted(
                self.spans[row.get("ANNOTATION_ID", "")]
                for row in element.iter("ALIGNABLE_ANNOTATION")
                if row.get("ANNOTATION_ID") in self.spans
            )
            later: list[Segment] = []
            for row in sorted(rows, key=lambda s: (s.start_s, s.end_s)):
                begin, end = row.start_s, row.end_s
                index = bisect_left(spans, (begin, end))
                near = spans[max(index - 1, 0) : index + 1]
                if (begin, end) in near or any(
                    a < end - 5e-4 and begin < b - 5e-4 for a, b in near
                ):
                    later.append(row)
                    continue
                spans.insert(index, (begin, end))
                self._annotate(element, row)
            rows = later

    def _tier(self, name: str, subject: str, rater: str) -> ET.Element | None:
        """The tier of a name, made where it is absent; None where it cannot take annotations."""
        element = self._tiers.get(name)
        if element is not None:
            same = element.get("PARTICIPANT", ""), element.get("ANNOTATOR", "")
            is_free = element.get("PARENT_REF") is None and same == (subject, rater)
            return element if is_free else None
        return self._new_tier(name, _TYPE, PARTICIPANT=subject, ANNOTATOR=rater)

    def _new_tier(self, name: str, kind: str, **facts: str) -> ET.Element:
        """A tier without annotations; its type is made where it is absent."""
        if self.root.find(f"LINGUISTIC_TYPE[@LINGUISTIC_TYPE_ID='{kind}']") is None:
            element = ET.Element("LINGUISTIC_TYPE", _type(kind))
            self._insert(element, after=("LINGUISTIC_TYPE", "TIER"))
        facts = {"LINGUISTIC_TYPE_REF": kind, "TIER_ID": name, **facts}
        element = ET.Element("TIER", {key: text for key, text in facts.items() if text})
        self._insert(element, after=("TIER", "TIME_ORDER"))
        self._tiers[name] = element
        return element

    def _insert(self, element: ET.Element, after: tuple[str, str]) -> None:
        tags = [child.tag for child in self.root]
        last = max((index for index, tag in enumerate(tags) if tag in after), default=len(tags) - 1)
        self.root.insert(last + 1, element)

    def _annotate(self, tier: ET.Element, row: Segment) -> None:
        names = [self._slot(time) for time in (row.start_s, row.end_s)]
        facts = {
            "ANNOTATION_ID": f"a{self._number()}",
            "TIME_SLOT_REF1": names[0],
            "TIME_SLOT_REF2": names[1],
        }
        annotation = ET.SubElement(ET.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", facts)
        ET.SubElement(annotation, "ANNOTATION_VALUE").text = row.label
        if row.probability is not None:
            name = f"{tier.get('TIER_ID')} {_SHARES}"
            below = self._tiers.get(name)
            if below is None:
                below = self._new_tier(name, _SHARES, PARENT_REF=tier.get("TIER_ID", ""))
            parent = facts["ANNOTATION_ID"]
            facts = {"ANNOTATION_ID": f"a{self._number()}", "ANNOTATION_REF": parent}
            annotation = ET.SubElement(ET.SubElement(below, "ANNOTATION"), "REF_ANNOTATION", facts)
            ET.SubElement(annotation, "ANNOTATION_VALUE").text = str(float(row.probability))

    def _slot(self, time_s: float) -> str:
        """A new slot, in the order of time."""
        order = self.root.find("TIME_ORDER")
        if order is None:
            order = ET.Element("TIME_ORDER")
            self._insert(order, after=("HEADER", "LICENSE"))
        self._slots += 1
        facts = {"TIME_SLOT_ID": f"ts{self._slots}", "TIME_VALUE": str(round(time_s * 1000))}
        order.append(ET.Element("TIME_SLOT", facts))
        return facts["TIME_SLOT_ID"]

    def sort_slots(self) -> None:
        """Put the slots in the order of time; slots without one stay after those before them."""
        order = self.root.find("TIME_ORDER")
        if order is None:
            return
        latest, keys = 0.0, dict[str, float]()
        for slot in order:
            latest = float(slot.get("TIME_VALUE") or latest)
            keys[slot.get("TIME_SLOT_ID", "")] = latest
        order[:] = sorted(order, key=lambda slot: keys[slot.get("TIME_SLOT_ID", "")])

    def _number(self) -> int:
        """A new number of an annotation, which the header states as the last one used."""
        header = self.root.find("HEADER")
        if header is None:
            header = ET.Element("HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
            self.root.insert(0, header)
        last = header.find(f"PROPERTY[@NAME='{_LAST}']")
        if last is None:
            last = ET.SubElement(header, "PROPERTY", {"NAME": _LAST})
        self._last += 1
        last.text = str(self._last)
        return self._last


def _numbers(root: ET.Element, key: str, begin: str) -> list[int]:
    """Numbers in the identifiers of elements that begin so."""
    names = [row.get(key, "") for row in root.iter()]
    numbers = [name.removeprefix(begin) for name in names if name.startswith(begin)]
    return [int(text) for text in numbers if text.isdigit()]


def _chain(rows: Sequence[ET.Element]) -> list[str]:
    """Names of annotations of one parent in the order of PREVIOUS_ANNOTATION."""
    follows = {row.get("PREVIOUS_ANNOTATION"): row.get("ANNOTATION_ID", "") for row in rows}
    names = [row.get("ANNOTATION_ID", "") for row in rows]
    name = next(
        (row.get("ANNOTATION_ID", "") for row in rows if not row.get("PREVIOUS_ANNOTATION")), None
    )
    chain: dict[str, None] = {}
    while name is not None and name not in chain:
        chain[name] = None
        name = follows.get(name)
    return list(chain) if len(chain) == len(names) else names


def _interpolated(times: Sequence[float | None]) -> list[float | None]:
    """Times with those that are missing at equal distances between their neighbours."""
    result = list(times)
    timed = [(index, time) for index, time in enumerate(times) if time is not None]
    for (before, first), (after, last) in pairwise(timed):
        for index in range(before + 1, after):
            share = (index - before) / (after - before)
            result[index] = first + share * (last - first)
    return result


def _type(name: str) -> dict[str, str]:
    """Attributes of a linguistic type: of probabilities one for each annotation above."""
    below = name == _SHARES
    facts = {"CONSTRAINTS": "Symbolic_Association"} if below else {}
    facts |= {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": name}
    return {**facts, "TIME_ALIGNABLE": str(not below).lower()}


def _empty(recording: str) -> ET.Element:
    facts = {"AUTHOR": "", "DATE": "2000-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0"}
    root = ET.Element("ANNOTATION_DOCUMENT", facts)
    root.set(_XSI, "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if recording != PurePath(recording.replace("\\", "/")).name:
        ET.SubElement(header, "PROPERTY", {"NAME": _RECORDING}).text = recording
    if recording:
        path = {"MEDIA_URL": recording, "RELATIVE_MEDIA_URL": recording, "MIME_TYPE": "unknown"}
        ET.SubElement(header, "MEDIA_DESCRIPTOR", path)
    ET.SubElement(header, "PROPERTY", {"NAME": _LAST}).text = "0"
    ET.SubElement(root, "TIME_ORDER")
    ET.SubElement(root, "LINGUISTIC_TYPE", _type(_TYPE))
    for stereotype, text in _CONSTRAINTS.items():
        ET.SubElement(root, "CONSTRAINT", {"DESCRIPTION": text, "STEREOTYPE": stereotype})
    return root
