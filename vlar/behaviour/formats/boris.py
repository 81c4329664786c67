"""Projects of BORIS (``.boris``): observations with events."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import groupby
from pathlib import PurePath
from typing import Any

from vlar.files.reading import parse_json
from vlar.registry import register
from vlar.segments.base import OPTIONAL, AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.spans import without_overlap
from vlar.segments.tables import seconds

_KEYS = "abcdefghijklmnopqrstuvwxyz0123456789"
_NAN = re.compile(rb"(?<=[\[,:\s])NaN(?=\s*[\],}])")
_TABLES = (
    *("subjects_conf", "behaviors_conf", "observations"),
    *("independent_variables", "coding_map", "converters"),
)
_ORIGIN = ("rater", "probability")
_MARK = "vlar "  # how a comment on an event begins that holds them
_Event = tuple[float, str, str, tuple[str, ...], str]
_State = tuple[str, str, tuple[str, ...]]
_Behaviours = dict[str, dict[str, Any]]


@register("annotation", "boris")
class BorisProject(AnnotationFormat):
    """Projects of BORIS: events of every observation; recording = observation, tier = category.

    The 1st, 3rd, ... event of a state of one subject with the same modifiers starts it, the next
    one stops it. A state that does not stop is left out, and a note names it.
    """

    endings = frozenset({".boris"})
    default_for = frozenset({".boris"})
    holds = frozenset(OPTIONAL)
    several = True
    adds = True
    loses = "overlapping states of one subject, behaviour and modifiers; times below 1 ms"

    def claims(self, source: Source) -> bool:
        """Return whether it is a JSON object with behaviours and observations."""
        return source.is_json("{", "behaviors_conf", "observations")

    def read(self, source: Source, options: Options) -> Table:
        """All observations; media, durations and independent variables with them."""
        project = _project(source)
        segments: list[Segment] = []
        notes: list[str] = []
        media: dict[str, tuple[str, ...]] = {}
        lengths: dict[str, float] = {}
        conditions: dict[str, dict[str, str]] = {}
        behaviours = _behaviours(project)
        for name, observation in project["observations"].items():
            rows, faults = _segments(name, observation, behaviours)
            segments += rows
            notes += [f"observation {name!r}: {fault}" for fault in faults]
            media[name] = _media(observation)
            if length := _length(observation):
                lengths[name] = length
            variables = observation.get("independent_variables") or {}
            conditions[name] = {str(k): str(v) for k, v in variables.items()}
        keys: dict[str, tuple[str, bool]] = {}
        for code, row in behaviours.items():
            if row.get("key"):
                keys.setdefault(str(row["key"]).lower(), (code, not _is_state(row)))
        return Table(segments, tuple(notes), media, lengths, conditions, keys)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The project with the events of segments that it does not have yet."""
        project = _project(existing) if existing else _empty()
        notes = _define(project, segments)
        behaviours = _behaviours(project)
        names = _by_media(project)
        by_recording = sorted(segments, key=lambda s: s.recording)
        for recording, rows in groupby(by_recording, key=lambda s: s.recording):
            name, same = recording, names[_stem(recording)]
            if recording not in project["observations"]:
                if len(same) == 1:
                    name = same[0]
                else:
                    project["observations"][recording] = _observation(recording)
                    same += [recording] * bool(PurePath(recording).suffix)
            observation = project["observations"][name]
            faults = _add(name, observation, list(rows), behaviours)
            notes += [f"observation {name!r}: {fault}" for fault in faults]
        return (json.dumps(project, ensure_ascii=False, indent=1) + "\n").encode(), notes


def _project(source: Source) -> dict[str, Any]:
    """The JSON object; times that are not a number (pictures) are null.

    Raises:
        ValueError: it is not JSON, or not a project.
    """
    project = parse_json(_NAN.sub(b"null", source.data))
    if not isinstance(project, dict) or not isinstance(project.get("observations"), dict):
        raise ValueError("it is not a project with observations")  # noqa: TRY004 - of the content
    for table in _TABLES[:3]:
        project[table] = project.get(table) or {}
    return project


def _behaviours(project: dict[str, Any]) -> _Behaviours:
    return {str(row.get("code")): row for row in project["behaviors_conf"].values()}


def _is_state(behaviour: dict[str, Any]) -> bool:
    return str(behaviour.get("type", "")).lower().startswith("state")


def _events(observation: dict[str, Any]) -> tuple[list[_Event], int]:
    """Events with a time, in order, and the number of those without one."""
    events: list[_Event] = []
    rows = observation.get("events") or []
    for row in rows:
        time = seconds(row[0])
        if time is not None:
            comment = str(row[4]) if len(row) > 4 else ""
            events.append((time, str(row[1] or ""), str(row[2]), modifiers_of(row[3:4]), comment))
    return sorted(events, key=lambda event: event[0]), len(rows) - len(events)


def modifiers_of(cells: Iterable[Any]) -> tuple[str, ...]:
    """Modifiers of cells such as ``m1|None``; empty where none is set."""
    parts = tuple(part for cell in cells if cell for part in str(cell).split("|"))
    return () if all(part in ("", "None") for part in parts) else parts


def comment_of(row: Segment) -> str:
    """Comment on an event that holds the rater and the probability of a segment, if any."""
    facts = {name: value for name in _ORIGIN if (value := getattr(row, name)) not in ("", None)}
    return _MARK + json.dumps(facts, ensure_ascii=False) if facts else ""


def origin_of(comment: str) -> tuple[str, float | None]:
    """Rater and probability of a comment; of one that a person wrote none."""
    try:
        facts = parse_json(comment.removeprefix(_MARK).encode()) if _MARK in comment[:5] else {}
        rater, share = (facts.get(name) for name in _ORIGIN)
        return str(rater or ""), None if share is None else float(share)
    except (ValueError, TypeError, AttributeError):
        return "", None


def _segments(
    name: str, observation: dict[str, Any], behaviours: _Behaviours
) -> tuple[list[Segment], list[str]]:
    """Segments of an observation, and what is wrong in it."""
    segments: list[Segment] = []
    events, timeless = _events(observation)
    notes = [f"{timeless} events have no time and are left out"] if timeless else []
    started: dict[_State, tuple[float, tuple[str, float | None]]] = {}
    unknown: Counter[str] = Counter()
    for time, subject, code, modifiers, comment in events:
        behaviour = behaviours.get(code, {})
        unknown.update([] if behaviour else [code])
        category = str(behaviour.get("category") or "")
        start, (rater, share) = time, origin_of(comment)
        if _is_state(behaviour):
            key = (subject, code, modifiers)
            if key not in started:
                started[key] = time, origin_of(comment)
                continue
            start, (rater, share) = started.pop(key)
        segments.append(
            Segment(name, start, time, code, subject, category, rater, modifiers, share)
        )
    notes += [unpaired(key, time) for key, (time, _) in started.items()]
    notes += [f"{code!r} is not in the ethogram: {n} point events" for code, n in unknown.items()]
    if offset := seconds(observation.get("time offset") or 0):
        notes.append(f"its time offset of {offset:g} s is not added to the times")
    return segments, notes


def unpaired(key: _State, time: float) -> str:
    """The note on a state that starts and does not stop."""
    subject, code, modifiers = key
    who = subject or "no focal subject"
    detail = f" ({'|'.join(modifiers)})" if modifiers else ""
    return f"unpaired state {code!r}{detail} of {who} at {time:.3f} s is left out; stop it in BORIS"


def _media(observation: dict[str, Any]) -> tuple[str, ...]:
    files = observation.get("file") or {}
    players = files.values() if isinstance(files, dict) else [files]
    return tuple(str(path) for paths in players for path in paths or [])


def _length(observation: dict[str, Any]) -> float | None:
    """Seconds of the files of player 1, which follow each other."""
    files = observation.get("file") or {}
    first = files.get("1") or [] if isinstance(files, dict) else []
    lengths = (observation.get("media_info") or {}).get("length") or {}
    seconds_of = [seconds(lengths.get(path)) for path in first]
    return sum(filter(None, seconds_of)) if seconds_of and None not in seconds_of else None


def _by_media(project: dict[str, Any]) -> dict[str, list[str]]:
    """The ids of observations by the names of their media files without folder and ending."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, observation in project["observations"].items():
        for stem in {_stem(path) for path in _media(observation)}:
            names[stem].append(name)
    return names


def _stem(path: str) -> str:
    return PurePath(path.replace("\\", "/")).stem


def _add(
    name: str, observation: dict[str, Any], rows: list[Segment], behaviours: _Behaviours
) -> list[str]:
    """Append the events of segments to an observation; what cannot be held, in notes."""
    present, _ = _segments(name, observation, behaviours)
    held = {_rounded(row) for row in present}
    fresh = [row for row in rows if _rounded(row) not in held]
    fresh, joined = without_overlap(fresh, lambda s: (_state(s), s.is_point))
    counts = Counter(event[1:4] for event in _events(observation)[0])
    spans: dict[_State, list[tuple[float, float]]] = defaultdict(list)  # they do not overlap
    for row in present:
        spans[_state(row)].append((row.start_s, row.end_s))
    lost: Counter[str] = Counter()
    events = observation.get("events") or []
    width = max([5, *map(len, events)])
    for row in fresh:
        key = _state(row)
        state = _is_state(behaviours[row.label])
        if state and counts[key] % 2:
            lost[f"{row.label!r} has an unpaired state, so nothing is added to it"] += 1
            continue
        before = bisect_left(spans[key], (row.end_s,))
        if state and before and row.start_s < spans[key][before - 1][1]:
            lost[f"{row.label!r} overlaps a state of the project and is left out"] += 1
            continue
        lost[f"{row.label!r} is a point event there and loses its end"] += (
            not state and not row.is_point
        )
        insort(spans[key], (row.start_s, row.end_s))
        for time in (row.start_s, row.end_s) if state else (row.start_s,):
            text = "|".join(part.replace("|", "/") or "None" for part in row.modifiers)
            event = [round(time, 3), row.subject, row.label, text, comment_of(row)]
            events.append(event + ["NA"] * (width - len(event)))
    # Stable: the stop of a state stays before the start of the next at the same time.
    times = [seconds(event[0]) or 0.0 for event in events]
    observation["events"] = [events[i] for i in sorted(range(len(events)), key=times.__getitem__)]
    return [*joined, *(f"{text} ({n} segments)" for text, n in lost.items() if n)]


def _state(row: Segment) -> _State:
    return row.subject, row.label, row.modifiers


def _rounded(row: Segment) -> tuple[Any, ...]:
    return round(row.start_s, 3), round(row.end_s, 3), row.label, row.subject, row.modifiers


def _define(project: dict[str, Any], rows: Rows) -> list[str]:
    """Add the subjects and behaviours that a project lacks; notes on other categories."""
    subjects, behaviours = project["subjects_conf"], project["behaviors_conf"]
    names = {str(row.get("name")) for row in subjects.values()}
    for name in sorted({row.subject for row in rows} - {"", *names}):
        subjects[_next(subjects)] = {"key": "", "name": name, "description": ""}
    notes: list[str] = []
    codes = _behaviours(project)
    keys_used = {row.get("key") for row in behaviours.values()}
    by_label: dict[str, list[Segment]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    for label, rows_of_label in sorted(by_label.items()):
        tiers = sorted({row.tier for row in rows_of_label} - {""})
        if label in codes:
            tiers = [tier for tier in tiers if tier != codes[label].get("category")]
            notes += [f"the category of {label!r} stays, not {tiers}"] if tiers else []
            continue
        notes += [f"{label!r} has one category, not {tiers}"] if len(tiers) > 1 else []
        key = next((k for k in _KEYS if k not in keys_used), "")
        keys_used.add(key)
        kind = "Point event" if all(row.is_point for row in rows_of_label) else "State event"
        behaviours[_next(behaviours)] = {
            "type": kind,
            "key": key,
            "code": label,
            "description": "",
            "category": tiers[0] if tiers else "",
            "excluded": "",
            "coding map": "",
            "modifiers": _modifier_sets(rows_of_label),
        }
        categories = project.setdefault("behavioral_categories", [])
        categories += [tier for tier in tiers[:1] if tier not in categories]
    return notes


def _modifier_sets(rows: list[Segment]) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for number in range(max(len(row.modifiers) for row in rows)):
        values = {row.modifiers[number] for row in rows if len(row.modifiers) > number}
        row = {"name": f"modifier {number + 1}", "type": 0, "values": sorted(values - {"None", ""})}
        sets[str(number)] = row
    return sets


def _next(table: dict[str, Any]) -> str:
    """A free number; the greatest one and one where numbers lack."""
    number = str(len(table))
    if number in table:
        return str(max(int(key) for key in table if key.isdigit()) + 1)
    return number


def _empty() -> dict[str, Any]:
    return {
        "time_format": "hh:mm:ss",
        "project_date": "",
        "project_name": "vlar",
        "project_description": "",
        "project_format_version": "7.0",
        "behavioral_categories": [],
        **{name: {} for name in _TABLES},
    }


def _observation(recording: str) -> dict[str, Any]:
    is_media = bool(PurePath(recording).suffix)
    files = {str(player): [recording] if is_media and player == 1 else [] for player in range(1, 9)}
    return {
        "file": files,
        "type": "MEDIA" if is_media else "LIVE",
        "date": "2000-01-01T00:00:00",
        "description": "",
        "time offset": 0.0,
        "events": [],
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "media_info": {name: {} for name in ("length", "fps", "hasVideo", "hasAudio", "offset")},
    }
