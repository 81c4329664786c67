"""Settings of a skeleton tower, and the tables of what a family of blocks brings.

A table has the name that a setting takes and ``FILE:CLASS`` in this folder. A new family is one
file, one line here and one table of ``presets.toml``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.errors import ModelError
from vlar.media.skeleton.layouts import layout, parts

#: What mixes the joints of a block (``network.Space``).
SPACES = {
    "channel": "channel:TowerTopology",
    "dilated": "curves:Dilated",
}
#: What mixes the frames of a block (``network.Time``).
TIMES = {
    "scales": "channel:Scales",
    "curve": "curves:CurveScales",
}
#: Released networks of one stream, by their names in ``released``.
PUBLISHED = ("ctrgcn", "hdgcn", "skateformer", "hypergcn", "protogcn", "chase", "psumnet")
#: Whole networks from streams to a vector (``network.TowerBody``).
BODIES = {
    "graph": "network:GraphBody",
    **dict.fromkeys(PUBLISHED, "published:PublishedTower"),
    "istanet": "published:PublishedTokens",
    "memory": "memory:MemoryAttentionNetwork",
    "two-streams": "ensemble:Subnet",
    "limbs": "ensemble:Subnet",
    "gated": "ensemble:Subnet",
    "differences": "ensemble:Subnet",
}
#: Further losses of a training (``network.Aux``).
AUX = {
    "diversity": "published:Diversity",
    "mmd": "published:PeopleApart",
    "prototypes": "published:TowerPrototypes",
}
STREAMS = ("joint", "bone", "motion", "bone_motion", "skip")
FUSIONS = ("early", "late", "parts")
NORMALISE = ("root", "turn", "scale", "toward")
HEADS = ("whole", "parts")
READOUTS = ("texts", "classes", "folds")
_MOST_WIDTH = 1024


@dataclass(frozen=True)
class TowerConfig(Settings):
    """Settings of a skeleton tower; the defaults are those of the plain channel topology.

    Attributes:
        layout: The joints it reads; recordings of another layout are mapped to it (``remap``).
        people: M, the people it reads of a clip, those who move most.
        frames: T; the rows of the encoder are interpolated to it.
        streams: What is read of the joints; ``skip`` is the bone to the grandparent.
        fuse: ``early`` reads all streams at once; ``late`` trains a network for each of them, and
            adds up; ``parts`` trains one for the whole body, the hands and the legs each.
        normalise: ``root`` moves the first person's root to the origin, ``turn`` turns that person
            to the camera, ``scale`` divides by the trunk. ``toward``, for bodies of 1-D
            convolutions, turns each person about the vertical so that the next one is at the right:
            the camera's direction and who stands left then change nothing.
        body: Name in ``BODIES``.
        bodies: Names in ``BODIES`` in place of ``body``: members of ``late`` fusion.
        space: Name in ``SPACES``, for the body ``graph``.
        time: Name in ``TIMES``, for the body ``graph``.
        widths: Channels of each block, multiples of 8.
        embed: Width that joints are embedded in, for the body ``hypergcn``; 0 for none.
        halved: Blocks, counted from 1, that halve the frames.
        slim: Factor on all widths.
        heads: ``whole`` alone, or also ``parts``: five heads drawn to texts while it trains (GAP).
        aux: Names in ``AUX``.
        weights: Factor of each of ``aux``.
        readout: ``texts`` adds what is found to the encoder's vector, so labels are answered by
            their words; ``classes`` has a class head and adds up the shares of all members;
            ``folds`` lets held-out people choose, which takes twice the time.
        centres: Joints that the levels of a hierarchy start from; more than one are members of
            ``late`` fusion, next to the streams.
        virtual: Learned joints that ``hypergcn`` appends inside of a block.
        neighbours: Joints of a hyper-edge of ``hypergcn``.
        ratio: Width of the hidden layer of an attention block of ``skateformer``, in its width.
        pieces: Tokens of a joint over time, for the body ``istanet``.
        together: Whether a token holds a joint of all people; else each has one of each person.
        paired: Whether the bodies of 1-D convolutions also read the joints of the next person,
            which relates two people.
        dilation: Distance in bones that a kernel of the space ``dilated`` adds to the one before.
        rotate: Angle in radians up to which training turns the bodies about each axis.
        shift: Length of the trunk up to which training moves the scene; for ``chase``.
        dropout: Share of the pooled features that training drops.
        adversarial: Length of the trunk up to which training moves every number of the joints
            against the tower, in three steps along the gradient; 0 for none. A step costs four.
        labels: The labels it was trained for; their texts may have moved.
    """

    layout: str = "ntu25"
    people: int = setting(2, at_least=1, at_most=8)
    frames: int = setting(64, at_least=8, at_most=512)
    streams: tuple[str, ...] = ("joint", "bone", "motion")
    fuse: str = setting("early", choices=FUSIONS)
    normalise: tuple[str, ...] = ("root", "scale")
    body: str = setting("graph", choices=tuple(BODIES))
    bodies: tuple[str, ...] = ()
    space: str = setting("channel", choices=tuple(SPACES))
    time: str = setting("scales", choices=tuple(TIMES))
    widths: tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    halved: tuple[int, ...] = (5, 8)
    embed: int = setting(0, at_least=0, at_most=_MOST_WIDTH)
    slim: float = setting(1.0, above=0, at_most=4)
    heads: tuple[str, ...] = ("whole",)
    readout: str = setting("texts", choices=READOUTS)
    aux: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    centres: tuple[str, ...] = ()
    virtual: int = setting(3, at_least=0, at_most=64)
    neighbours: int = setting(9, at_least=1, at_most=64)
    ratio: float = setting(4.0, above=0, at_most=16)
    pieces: int = setting(6, at_least=1, at_most=64)
    together: bool = True
    paired: bool = False
    dilation: int = setting(1, at_least=1, at_most=16)
    rotate: float = setting(0.3, at_least=0, at_most=3.2)
    shift: float = setting(0.0, at_least=0, at_most=100)
    dropout: float = setting(0.1, at_least=0, below=1)
    adversarial: float = setting(0.0, at_least=0, at_most=1)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "skeleton tower setting"

    def check(self) -> None:
        """Refuse names that do not exist and values that do not go together."""
        for name, choices in (
            ("streams", STREAMS),
            ("normalise", NORMALISE),
            ("bodies", tuple(BODIES)),
            ("heads", HEADS),
            ("aux", AUX),
        ):
            value = getattr(self, name)
            if strange := [value for value in value if value not in choices]:
                advice = f"some of {', '.join(choices)}"
                raise bad_setting(self.what, name, strange[0], advice, several=True)
        if not self.streams:
            raise bad_setting(self.what, "streams", self.streams, f"some of {', '.join(STREAMS)}")
        odd = [width for width in self.widths if not 8 <= width <= _MOST_WIDTH or width % 8]
        if not self.widths or odd:
            advice = f"one or more multiples of 8 up to {_MOST_WIDTH}"
            raise bad_setting(self.what, "widths", self.widths, advice)
        if len(self.weights) != len(self.aux):
            advice = f"one number for each of aux ({len(self.aux)})"
            raise bad_setting(self.what, "weights", self.weights, advice)
        for centre in self.centres:
            if centre not in layout(self.layout).joints:
                advice = f"joints of the layout: {', '.join(layout(self.layout).joints)}"
                raise bad_setting(self.what, "centres", centre, advice, several=True)
        relates = self.paired or "toward" in self.normalise
        others = [name for name in self.bodies or (self.body,) if "ensemble:" not in BODIES[name]]
        if relates and others:
            name, value = ("paired", True) if self.paired else ("normalise", "toward")
            raise bad_setting(
                self.what, name, value, f"it for ensemble-1d alone; {others[0]!r} does not read it"
            )
        if self.needs_body and layout(self.layout).body != "body":
            raise ModelError(
                f"{self.what} layout is {self.layout!r}, a hand, and this tower reads "
                "the parts of a body; use a layout of bodies, such as ntu25, and convert "
                "recordings with vlar.media.skeleton.layouts.remap"
            )

    @property
    def needs_body(self) -> bool:
        """Whether it reads parts that a hand lacks."""
        return "parts" in (*self.heads, self.fuse)

    @property
    def joints(self) -> int:
        """V, joints of the layout."""
        return len(layout(self.layout).joints)

    def slimmed(self, width: int) -> int:
        """A width by ``slim``, a multiple of 8 where it changes."""
        return width if self.slim == 1 else max(8, round(width * self.slim / 8) * 8)


def part_joints(name: str) -> dict[str, list[int]]:
    """The joints of head, hand, hip and foot in a layout, as GAP divides a body."""
    of = {part: rows.tolist() for part, rows in parts(name).items()}
    return {
        "head": of["head"],
        "hand": sorted([*of["arms"], *of["hands"]]),
        "hip": of["torso"],
        "foot": sorted([*of["legs"], *of["feet"]]),
    }


def loaded(table: dict[str, str], name: str) -> Any:
    """The class of a name in a table."""
    file, _, part = table[name].partition(":")
    return getattr(importlib.import_module(f"{__package__}.{file}"), part)
