"""Names of points of different tools and laboratories, matched to each other.

``l_ear``, ``Left Ear``, ``LEar`` and ``ear_left`` are one point. The synonyms are those of common
schemes: DeepLabCut's model zoo, SLEAP, MARS, JABS, Lightning Pose, COCO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlar.toml import read_toml

_SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_GLUED = re.compile(r"(left|right)(.+)|(.+?)(left|right)")
#: Further names of places of a body, whose words may stand in any order.
SYNONYMS = read_toml(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))
_PLACES = {
    form: place
    for place, names in SYNONYMS.items()
    for name in (place, *names.split(", "))
    for form in ("".join(name.split()), "".join(sorted(name.split())))
}


def plain(name: str) -> str:
    """Name of a point in lower case, letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def place_of(name: str) -> str:
    """Place of the body that a name stands for, with its side: ``left ear`` of ``L.Ear``."""
    words = [word.lower() for word in _TOKENS.findall(name)]
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    words = [word for word in words if word not in _SIDES]
    if not side and (glued := _GLUED.fullmatch("".join(words))):
        side, words = glued[1] or glued[4], [glued[2] or glued[3]]
    forms = "".join(words), "".join(sorted(words))
    glued_side, rest = forms[0][:1], forms[0][1:]
    if not side and glued_side in _SIDES and rest in _PLACES and forms[0] not in ("rear", *_PLACES):
        side, forms = _SIDES[glued_side], (rest, rest)
    place = next((_PLACES[form] for form in forms if form in _PLACES), forms[1])
    return f"{side} {place}".strip()


def matched(
    theirs: Sequence[str], ours: Sequence[str], named: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Points of a recording by those of a model: their name to ours, each at most once.

    Args:
        theirs: Names in the recording.
        ours: Names in the model.
        named: Their names to ours, which have the last word.
    """
    pairs = {name: (named or {}).get(name, "") for name in theirs}
    pairs = {name: ours_name for name, ours_name in pairs.items() if ours_name in ours}
    for form in (plain, place_of):
        free = {form(name): name for name in reversed(ours) if name not in pairs.values()}
        for name in theirs:
            if name not in pairs and form(name) in free:
                pairs[name] = free.pop(form(name))
    return pairs
