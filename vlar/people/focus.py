"""Person of an answer: the one of a reference, or the one to zoom in on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlar.errors import UsageError
from vlar.language.referring import Reference, parse
from vlar.media.base import Reader
from vlar.people.base import Boxes, Detector, load_detector
from vlar.people.people import CONTEXT, People, find_people
from vlar.people.subject_selection import choose, from_left
from vlar.people.tracks import Track, link
from vlar.pose import networks
from vlar.registry import unknown_name
from vlar.types import Clip, Float32, Float64, Person

_OFTEN = 0.5  # share of a body's frames in which something moves on it
_WHOLE = 0.8  # size of what moves over that of the body, from which the whole body moves
_STIRS = 0.1  # body sizes that a limb of a moving body strays from its usual place
_LASTS = 0.3  # share of the frames in which something moves without a body
_AROUND = 0.1  # of a box's sides: movement so near to it is on it
_TRUNK, _LIMBS = [11, 12, 23, 24], [13, 14, 15, 16, 25, 26, 27, 28]  # joints of BLAZEPOSE_33


def who_moves(bodies: Sequence[Track], movement: Boxes, n_frames: int) -> Track | None:
    """The largest and longest of those who move: whole bodies first, then limbs, then anything.

    Args:
        bodies: Tracks of people; none is allowed.
        movement: Boxes of what moves against the background, in the same frames.
        n_frames: Frames of the clip.

    Returns:
        A body whose movement is as large as itself; without one a body whose limbs move; without
        one what moves without a known body; without one the largest body; None of nothing.
    """
    sizes = [_moving_size(body, movement) for body in bodies]
    moved = [(body, size) for body, size in zip(bodies, sizes, strict=True) if size is not None]
    lasting = [mover for mover in link(movement) if len(mover.boxes) >= _LASTS * n_frames]
    for boxes in (
        [body for body, size in moved if size >= _WHOLE],
        [body for body, _ in moved if _stirs(body)],
        lasting,
        bodies,
    ):
        if boxes:
            return max(boxes, key=lambda track: track.presence)
    return None


def _moving_size(body: Track, movement: Boxes) -> float | None:
    """Size of what moves on a body over its own; None where mostly nothing does."""
    sizes = [
        size
        for row in body.boxes
        if (size := _size_on(row[1:], movement.rows[movement.rows[:, 0] == row[0], 1:]))
    ]
    if len(sizes) < _OFTEN * len(body.boxes):
        return None
    return float(np.median(sizes))


def _size_on(box: Float32, movement: Float32) -> float:
    """Longer side of the boxes (n, 4) whose middles are on a box (4,), over its own; 0 of none."""
    around = _AROUND * (box[2:] - box[:2])
    middles = (movement[:, :2] + movement[:, 2:]) / 2
    on = ((middles > box[:2] - around) & (middles < box[2:] + around)).all(axis=1)
    if not on.any():
        return 0.0
    reach = movement[on, 2:].max(axis=0) - movement[on, :2].min(axis=0)
    return float(reach.max() / max(float((box[2:] - box[:2]).max()), 1.0))


def _stirs(body: Track) -> bool:
    """Return whether limbs move against the trunk; True for a body without joints."""
    if body.joints is None:
        return True
    joints: Float64 = body.joints[..., :2].astype(np.float64)
    limbs = (joints[:, _LIMBS] - joints[:, _TRUNK].mean(axis=1, keepdims=True)) / body.extent
    padded = np.concatenate([limbs[:1], limbs, limbs[-1:]])
    smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    strays = np.linalg.norm(smooth.std(axis=0), axis=-1)
    return float(np.sort(strays)[-2:].mean()) >= _STIRS


ZOOMS = ("off", "auto", "person")
#: Size of a person, in shares of the frame's shorter side, below which ``auto`` zooms in.
SMALL = 0.45
#: Side of a zoomed cut over the size: of a body, and of what moves, whose boxes reach over it.
BODY_MARGIN, MOVEMENT_MARGIN = 2.0, 1.0
_GENDERED = frozenset(
    {"man", "woman", "boy", "girl", "guy", "lady", "gentleman", "child", "kid", "adult", "baby"}
)  # and of one age
_FEW_PIXELS = 6.0  # how much a cut is enlarged for the encoder, from which a note follows

Likeness = Callable[[People, Clip, Reference], Float64 | None]
"""(K,) logits: how much the words of a reference fit each person; None to go by measures alone."""


@dataclass(frozen=True)
class ClipCut:
    """Cut of a clip for an answer.

    Attributes:
        cut: The person's part of the clip; None where the whole picture is judged.
        person: The person of the cut.
        notes: Remarks for the reader.
    """

    cut: Clip | None = None
    person: Person | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """Person that is zoomed in on."""

    people: People
    place: int
    margin: float

    @property
    def extent(self) -> float:
        """Size in shares of the frame's shorter side."""
        return self.people.extent(self.place)

    def cut_out(self, clip: Clip) -> Clip:
        """The part of a clip that is judged."""
        return self.people.cut_out(self.place, clip, margin=self.margin)


@dataclass(frozen=True)
class Focus:
    """Settings of ``who`` and ``zoom``.

    Attributes:
        reference: The person (or thing) that is meant; None to zoom in on the one who moves.
        only_small: Whether only a small person is zoomed in on.
        detector: Detector of people, or of motion.
        note: Remark on the choice of the detector.
        moving: Detector of movement: around bodies that show in a few frames only, and whom to zoom
            in on; None to go by bodies alone.
    """

    reference: Reference | None
    only_small: bool
    detector: Detector
    note: str = ""
    moving: Detector | None = None

    @property
    def keeps_whole(self) -> bool:
        """Whether the whole picture counts too; with a reference it shows the others."""
        return self.reference is None

    def find(self, clip: Clip, source: Reader | None, likeness: Likeness | None = None) -> ClipCut:
        """The person in a clip.

        Args:
            clip: (T, H, W, 3) frames.
            source: See ``find_people``.
            likeness: Compares cuts with the words that no measure stands for.

        Raises:
            PersonError: the reference counts beyond the people who are there.
        """
        notes = (self.note,) if self.note else ()
        if self.reference is None:
            return self._zoomed(clip, source, notes)
        noun = self.reference.noun
        people = find_people(clip, self.detector, noun, source, self.moving)
        if not people.tracks:
            return _nobody(noun, notes)
        return self._referred(people, self.reference, clip, likeness, notes)

    def zoom_in(self, clip: Clip, source: Reader | None = None) -> Target | None:
        """Person to zoom in on: the one who moves, else the largest; None if no person is found.

        Args:
            clip: (T, H, W, 3) frames.
            source: See ``find_people``.
        """
        people = find_people(clip, self.detector, source=source)
        frames, times_s, movement = people.clip.data, people.clip.times_s, Boxes.none()
        if self.moving is not None:
            movement = self.moving.detect(frames, times_s)
        chosen = who_moves(people.tracks, movement, len(frames))
        if chosen is None:
            return None
        is_body = any(track is chosen for track in people.tracks)
        if not is_body:
            people = People(people.clip, from_left([*people.tracks, chosen]))
        row = next(index for index, track in enumerate(people.tracks) if track is chosen)
        moves_only = not is_body or self.detector.finds == "movement"
        return Target(people, row, MOVEMENT_MARGIN if moves_only else BODY_MARGIN)

    def _zoomed(self, clip: Clip, source: Reader | None, notes: tuple[str, ...]) -> ClipCut:
        target = self.zoom_in(clip, source)
        if target is None:
            return _nobody("person", notes)
        if self.only_small and target.extent >= SMALL:
            return ClipCut(person=None, notes=notes)
        cut = target.cut_out(clip)
        encoder_side, side = clip.meta.get("encoder_side"), min(cut.data.shape[1:3])
        if isinstance(encoder_side, int | float) and encoder_side / side > _FEW_PIXELS:
            notes = (*notes, f"too few pixels: the person's cut is {side} pixels wide")
        return ClipCut(cut, target.people.person(target.place), notes)

    def _referred(
        self,
        people: People,
        reference: Reference,
        clip: Clip,
        likeness: Likeness | None,
        notes: tuple[str, ...],
    ) -> ClipCut:
        colours = people.colours() if reference.colour else ()
        alike = None
        if likeness is not None and len(people.tracks) > 1:
            alike = likeness(people, clip, reference)
        chosen = choose(people.tracks, reference, colours, alike)
        person = people.person(chosen.place, float(chosen.weights[chosen.place]))
        cut = people.cut_out(chosen.place, clip, margin=CONTEXT)
        return ClipCut(cut, person, (*notes, chosen.note) if chosen.note else notes)


def _nobody(noun: str, notes: tuple[str, ...]) -> ClipCut:
    whole = f"no {noun} is found that can be followed: the whole picture is judged"
    return ClipCut(notes=(*notes, whole))


def needs_words(reference: Reference) -> bool:
    """Return whether an encoder must compare pictures with the words: no measure is enough."""
    measured = reference.position or reference.colour or reference.number or reference.size
    return bool(reference.rest) or (reference.noun in _GENDERED and not measured)


def make_focus(
    who: str | None = None, zoom: str | None = None, detector: str | None = None
) -> Focus | None:
    """Focus of the options; None where they ask for the whole picture.

    Args:
        who: A phrase such as ``the person on the left``.
        zoom: ``off``, ``auto`` (only where the person is small) or ``person``.
        detector: Spec of the detector; None for ``pose``, together with ``motion``.

    Raises:
        UsageError: a phrase that names nobody, both options at once, a detector without either, or
            a thing that the detector cannot find.
        UnknownNameError: no such zoom or detector.
        ModelError: the detector's weights or library are missing.
    """
    zoom = zoom or ZOOMS[0]
    if zoom not in ZOOMS:
        raise unknown_name("zoom", zoom, ZOOMS)
    if who is None and zoom == ZOOMS[0]:
        if detector is not None:
            raise UsageError(
                f"detector {detector!r} finds whom --who or --zoom ask for; give one of these too"
            )
        return None
    if who is not None and zoom != ZOOMS[0]:
        raise UsageError(
            f"--who {who!r} and --zoom {zoom!r}: --who cuts its person out already; give one"
        )
    reference = parse(who) if who is not None else None
    finder, note = _detector(reference, detector)
    moving = load_detector("motion") if detector is None and not note else None
    return Focus(reference, zoom == "auto", finder, note, moving)


def _detector(reference: Reference | None, spec: str | None) -> tuple[Detector, str]:
    """The detector of a request, and a note about it."""
    if spec is not None:
        chosen = load_detector(spec)
        if reference is not None:
            chosen.check_noun(reference.noun, reference.is_person)
        return chosen, ""
    if reference is not None and not reference.is_person:
        raise UsageError(
            f"{reference.noun!r} is not a person, and bodies are what vlar finds by itself; use "
            "--detector hf:FOLDER with a zero-shot detector, or --detector motion for what moves"
        )
    if not networks.is_installed():
        note = (
            "people are found by their movement alone; 'vlar models get lite-motion' finds bodies"
        )
        return load_detector("motion"), note
    return load_detector("pose"), ""
