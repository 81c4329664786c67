"""Temporal statistics: the features of a clip's frames in one vector, the signature.

A signature kind is a sum of terms, ``mean+absdiff+motion``, each with an optional weight,
``mean+motion:0.7``. A term turns one part of the frame features into a vector of unit length:

========== ============ ============================================================================
term       reads        what it is
========== ============ ============================================================================
mean       appearance   mean over time: what is there
absdiff    appearance   mean absolute step from frame to frame: what changes, in whatever order
std        appearance   standard deviation over time: the same, blind to speed
dct        appearance   cosine transform over time, coefficients 1 to 3: what comes before what
rhythm     appearance   absolute values of the same: order-free, walking direction does not matter
objects    logits       square root of the mean class probability
motion     motion       mean and deviation of the flow histograms, and the amount (not the sign) of
                        their mirror-odd half: how things move, left and right alike
order      motion       cosine transform over time of the flow histograms: what moves first
direction  direction    mean of the mirror-odd half with its sign: left and right differ
level      signal       mean over time of measured values
course     signal       16 moments less their mean, one after the other: what comes before what
spread     signal       standard deviation over time
speed      signal       mean absolute step from moment to moment
attributes pose         what the body does beyond the ordinary, as in the shared vector of ``lite``
spectrum   pose         mean, spread and rhythm of the paths of the limbs
hands      hands        what hands near the camera do beyond the ordinary, as in the shared vector
clip       clip         the one vector that an encoder of whole clips gives
statistics statistics   standardised statistics of a whole recording
frames:K   appearance   K frames, evenly resampled, each of unit length, one after the other: for
                        heads that compare clips as sequences (``vlar.methods.matchers.heads``)
========== ============ ============================================================================

Activations enter as signed square roots (power normalisation, Perronnin et al. 2010), so that few
strong channels do not drown the others; ``frames`` keeps them as they are. A block that a term does
not read is ignored, and blocks of the same kind are joined. Encoders of frames have ``appearance``,
those of whole clips ``clip``; ``available_terms`` lists what others add. Signals enter as they
are, without roots; ``frames`` reads them where appearance is missing.

``imu.speed`` is the term ``speed`` of the blocks of one sensor of a bundle. It is zero where a clip
lacks the sensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.pose.features import motion_vector, spectrum
from vlar.registry import unknown_name
from vlar.types import Float32

Floats = npt.NDArray[np.floating[Any]]
_MOMENTS = 16  # of the term ``course``


def level(x: Floats) -> Floats:
    """(N, T, W) to the mean over time (N, W)."""
    return unit_rows(x.mean(axis=1))


def course(x: Floats) -> Floats:
    """(N, T, W) to 16 moments less their mean, one after the other (N, 16 W)."""
    moments = resampled(_MOMENTS, x)
    return unit_rows((moments - moments.mean(axis=1, keepdims=True)).reshape(len(x), -1))


def spread(x: Floats) -> Floats:
    """(N, T, W) to the standard deviation over time (N, W)."""
    return unit_rows(x.std(axis=1))


def speed(x: Floats) -> Floats:
    """(N, T, W) to the mean absolute step from moment to moment (N, W)."""
    return unit_rows(steps(x))


def resampled(count: int, x: Floats) -> Floats:
    """(N, T, W) to (N, ``count``, W) by linear interpolation between the middles of frames."""
    length = x.shape[1]
    positions = ((np.arange(count) + 0.5) * length / count - 0.5).clip(0, length - 1)
    before = np.floor(positions).astype(np.intp)
    after, share = np.minimum(before + 1, length - 1), (positions - before)[None, :, None]
    return x[:, before] * (1 - share) + x[:, after] * share


def steps(x: Floats) -> Floats:
    """(N, T, W) to the mean absolute step from frame to frame (N, W); 0 for one frame."""
    if x.shape[1] < 2:
        return np.zeros_like(x[:, 0])
    return np.abs(np.diff(x, axis=1)).mean(axis=1)


def unit_rows(x: Floats, floor: float = 1e-6) -> Floats:
    """Rows of length 1; rows shorter than ``floor`` stay proportionally short."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), floor)


_ORDERS = 3
_QUIET = 1.0  # norm of flow histograms below which a clip counts as still: noise is not amplified
_FRAMES = "frames"
_MOST_FRAMES = 1024


def available_terms(blocks: Sequence[FrameBlock]) -> tuple[str, ...]:
    """The terms that frame features with these blocks can fill, without sequences of frames."""
    kinds = {block.kind for block in blocks}
    return tuple(name for name, (needs, _) in _TERMS.items() if set(needs) <= kinds)


def parse_kind(kind: str) -> dict[str, float]:
    """Terms and weights of a signature kind.

    >>> parse_kind("mean+motion:0.5")
    {'mean': 1.0, 'motion': 0.5}
    >>> parse_kind("frames:8")
    {'frames:8': 1.0}

    Raises:
        UnknownNameError: a term does not exist.
        UsageError: a weight is not a positive number, or a term comes twice.
    """
    terms: dict[str, float] = {}
    for part in kind.split("+"):
        name, _, weight = (piece.strip() for piece in part.partition(":"))
        base = _sensor_and_term(name)[1]
        if base == _FRAMES:
            count, _, weight = (piece.strip() for piece in weight.partition(":"))
            name = f"{name}:{_frame_count(kind, count)}"
        elif base not in _TERMS:
            raise unknown_name("signature term", base, (*_TERMS, f"{_FRAMES}:8"))
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if not 0 < value < 1e6 or name in terms:
            raise UsageError(
                f"signature kind {kind!r}: term {part.strip()!r} needs a positive weight and may "
                "come once, such as 'mean+motion:0.5'"
            )
        terms[name] = value
    return terms


def sequence_length(kind: str) -> int:
    """K of a kind that is a sequence of frames alone.

    Raises:
        UsageError: the kind holds another term.
    """
    (name, *others) = parse_kind(kind)
    if others or not _sensor_and_term(name)[1].startswith(f"{_FRAMES}:"):
        raise UsageError(
            f"signature kind {kind!r} is not a sequence of frames; use one such as 'frames:8'"
        )
    return int(name.partition(":")[2])


def _frame_count(kind: str, count: str) -> int:
    if not count.isdecimal() or not 1 <= int(count) <= _MOST_FRAMES:
        raise UsageError(
            f"signature kind {kind!r}: {count!r} is not a number of frames from 1 to "
            f"{_MOST_FRAMES}; write for example 'frames:8'"
        )
    return int(count)


def signature(features: Float32, blocks: Sequence[FrameBlock], kind: str) -> Float32:
    """One unit vector a clip.

    Args:
        features: (N, T, F) frame features in time order.
        blocks: The parts of F, in order (``encoder.frame_blocks``).
        kind: Sum of terms, see above.

    Returns:
        (N, S) float32; rows of unit length (zero where every term is).

    Raises:
        UsageError: the kind is malformed, or a term reads a block these features do not have.
    """
    return join(terms(features, blocks, tuple(parse_kind(kind))), kind)


def over_present(
    signatures: Float32, features: Float32, blocks: Sequence[FrameBlock], kind: str
) -> Float32:
    """Signatures whose cosines to examples are means over the sensors that a clip has.

    A sensor that a clip lacks is zero in its signature, and would count as one that is unlike all.

    Args:
        signatures: (N, S) float32 of ``kind``.
        features: (N, T, F) what they were made of.
        blocks: The parts of F.
        kind: A kind with terms of sensors, or any other, whose signatures stay as they are.

    Returns:
        (N, S) float32, divided by the share of the kind's weight that is there.
    """
    if not names_sensors(kind):
        return signatures
    weights = parse_kind(kind)
    present = {
        sensor: np.any([x.any(axis=(1, 2)) for _, x in _parts(features, blocks, sensor)], axis=0)
        for sensor in {_sensor_and_term(name)[0] for name in weights}
    }
    total = sum(weight**2 for weight in weights.values())
    share = sum(w**2 / total * present[_sensor_and_term(name)[0]] for name, w in weights.items())
    return signatures / np.where(share, share, 1.0).astype(np.float32)[:, None]


def alone(features: Float32, blocks: Sequence[FrameBlock], sensor: str) -> Float32:
    """Features (N, T, F) of a bundle in which one sensor was recorded; the rest is zero."""
    masks = [np.full(block.width, block.part == sensor) for block in blocks]
    return features * np.concatenate(masks)


def lone_sensor(features: Float32, blocks: Sequence[FrameBlock]) -> str:
    """The sensor of a clip (1, T, F) that lacks all others of its bundle; empty for several."""
    ends = np.cumsum([block.width for block in blocks])[:-1]
    parts = zip(blocks, np.split(features, ends, axis=2), strict=True)
    sensors = {block.part for block, part in parts if block.part and part.any()}
    return sensors.pop() if len(sensors) == 1 else ""


def join(vectors: Mapping[str, Float32], kind: str) -> Float32:
    """The signature (N, S) of a kind from its terms (N, S_term)."""
    weights = parse_kind(kind)
    length = np.sqrt(sum(weight**2 for weight in weights.values()))
    return np.concatenate(
        [vectors[name] * np.float32(weight / length) for name, weight in weights.items()], axis=1
    )


def terms(
    features: Float32, blocks: Sequence[FrameBlock], names: Sequence[str]
) -> dict[str, Float32]:
    """Each named term of (N, T, F) frame features as (N, S_term) float32 unit vectors."""
    _check_width(features, blocks)
    read: dict[str, dict[str, Floats]] = {}
    terms: dict[str, Float32] = {}
    for name in names:
        sensor, term = _sensor_and_term(name)
        if sensor not in read:
            read[sensor] = dict(_parts(features, blocks, sensor))
        parts = read[sensor]
        needs, compute = _term(term, parts)
        missing = [need for need in needs if need not in parts]
        if missing:
            raise UsageError(
                f"signature term {name!r} reads a {missing[0]!r} block, and this encoder's frame "
                f"features have {sorted(parts)}; use {'+'.join(available_terms(blocks)[:2])!r}"
            )
        terms[name] = compute(*(parts[need] for need in needs)).astype(np.float32)
        if sensor:  # some terms of zeros are not zero
            terms[name] *= np.any([part.any(axis=(1, 2)) for part in parts.values()], axis=0)[
                :, None
            ]
    return terms


def _term(name: str, there: Mapping[str, Floats]) -> tuple[tuple[str, ...], Callable[..., Floats]]:
    base, _, count = name.partition(":")
    if base != _FRAMES:
        return _TERMS[name]
    reads = "signal" if "signal" in there and "appearance" not in there else "appearance"
    return (reads,), partial(_frames, int(count))


def _sensor_and_term(name: str) -> tuple[str, str]:
    sensor, _, term = name.rpartition(".")
    return sensor, term


def names_sensors(kind: str) -> bool:
    """Return whether terms of a kind read the blocks of one sensor of a bundle."""
    return any(_sensor_and_term(name)[0] for name in parse_kind(kind))


def of_sensor(kind: str, sensor: str) -> str:
    """The kind whose terms read the blocks of one sensor of a bundle.

    >>> of_sensor("speed+level:0.5", "imu")
    'imu.speed+imu.level:0.5'
    """
    return "+".join(f"{sensor}.{term}" for term in kind.split("+"))


def _check_width(features: Float32, blocks: Sequence[FrameBlock]) -> None:
    if features.ndim != 3 or features.shape[2] != sum(block.width for block in blocks):
        raise UsageError(
            f"frame features have shape {features.shape}, but the blocks "
            f"{[(block.name, block.width) for block in blocks]} need (N, T, "
            f"{sum(block.width for block in blocks)})"
        )


def _parts(
    features: Float32, blocks: Sequence[FrameBlock], sensor: str
) -> Iterator[tuple[str, Floats]]:
    """Features of each kind of block; those of one sensor where it is named."""
    starts = np.cumsum([0, *(block.width for block in blocks)])
    block_features = [
        (block, features[..., start : start + block.width])
        for block, start in zip(blocks, starts, strict=False)
        if not sensor or block.part == sensor
    ]
    for kind in dict.fromkeys(block.kind for block, _ in block_features):
        yield kind, np.concatenate([x for block, x in block_features if block.kind == kind], axis=2)


def _mean(x: Floats) -> Floats:
    return unit_rows(_power(x).mean(axis=1))


def _absdiff(x: Floats) -> Floats:
    return unit_rows(steps(_power(x)))


def _std(x: Floats) -> Floats:
    return unit_rows(_power(x).std(axis=1))


def _dct(x: Floats) -> Floats:
    return unit_rows(_cosine_transform(_power(x)))


def _rhythm(x: Floats) -> Floats:
    return unit_rows(np.abs(_cosine_transform(_power(x))))


def _objects(x: Floats) -> Floats:
    shifted = np.exp(x - x.max(axis=2, keepdims=True))
    return unit_rows(np.sqrt((shifted / shifted.sum(axis=2, keepdims=True)).mean(axis=1)))


def _motion(x: Floats, direction: Floats) -> Floats:
    parts = [unit_rows(x.mean(axis=1), _QUIET), unit_rows(x.std(axis=1), _QUIET)]
    parts.append(0.5 * unit_rows(np.abs(direction.mean(axis=1)), _QUIET))
    return np.concatenate(parts, axis=1) / 1.5


def _order(x: Floats) -> Floats:
    return unit_rows(_cosine_transform(x), _QUIET)


def _direction(x: Floats) -> Floats:
    return unit_rows(x.mean(axis=1), _QUIET)


def _attributes(x: Floats) -> Floats:
    return np.stack([motion_vector(clip.astype(np.float32)) for clip in x])


def _spectrum(x: Floats) -> Floats:
    return unit_rows(np.stack([spectrum(clip.astype(np.float32)) for clip in x]))


def _clip(x: Floats) -> Floats:
    return unit_rows(x.mean(axis=1))


def _hands(x: Floats) -> Floats:
    from vlar.pose.hand_features import hand_vector

    return np.stack([hand_vector(clip.astype(np.float32)) for clip in x])


_TERMS: dict[str, tuple[tuple[str, ...], Callable[..., Floats]]] = {
    "mean": (("appearance",), _mean),
    "absdiff": (("appearance",), _absdiff),
    "std": (("appearance",), _std),
    "dct": (("appearance",), _dct),
    "rhythm": (("appearance",), _rhythm),
    "objects": (("logits",), _objects),
    "motion": (("motion", "direction"), _motion),
    "order": (("motion",), _order),
    "direction": (("direction",), _direction),
    "level": (("signal",), level),
    "course": (("signal",), course),
    "spread": (("signal",), spread),
    "speed": (("signal",), speed),
    "attributes": (("pose",), _attributes),
    "spectrum": (("pose",), _spectrum),
    "hands": (("hands",), _hands),
    "clip": (("clip",), _clip),
    "statistics": (("statistics",), _clip),
}


def _frames(count: int, x: Floats) -> Floats:
    """(N, T, W) to ``count`` frames by linear interpolation, each of length 1: (N, count W)."""
    frames = resampled(count, x)
    norm = np.linalg.norm(frames, axis=2, keepdims=True)
    frames = frames / np.where(norm > 0, norm, 1) / np.sqrt(count)
    return frames.reshape(len(x), -1)


def _power(x: Floats) -> Floats:
    return np.sign(x) * np.sqrt(np.abs(x))


def _cosine_transform(x: Floats) -> Floats:
    """DCT-II over time, coefficients 1 to 3, flat: (N, T, W) to (N, 3 W)."""
    length = x.shape[1]
    order, time = np.arange(1, _ORDERS + 1), np.arange(length) + 0.5
    basis = np.cos(np.pi * order[:, None] * time / length) * np.sqrt(2 / length)
    basis[order >= length] = 0
    return np.einsum("ot,ntw->now", basis, x).reshape(len(x), -1)


# Kinds to choose among, in order; the first that an encoder can fill is the default. The order is
# a prior from the "choose" labels of evals/few_shot.py; it matters only where nothing can be held
# out. A kind with a requirement counts only where that block is there; of the others, the terms
# that the features cannot fill are cut.
_KINDS: tuple[tuple[str, str | None], ...] = (
    # Chosen on the half of ESC-10 that teaches (evals/results/sounds.json).
    ("statistics", "statistics"),
    # Chosen on skeletons, IMU and sound, both halves in view (docs/sensor_figures.md).
    ("course+spread+speed+attributes", "signal"),
    ("course+spread+speed+attributes+spectrum", "signal"),
    ("course+spread+speed+level", "signal"),
    ("spread+speed+attributes", "signal"),
    ("spread+speed+clip", "signal"),
    ("level+spread+speed+clip", "signal"),
    ("mean+absdiff+attributes+spectrum", "pose"),
    ("mean+absdiff+attributes:1.5+spectrum", "pose"),
    ("attributes+spectrum", "pose"),
    ("attributes", "pose"),
    ("mean+absdiff+rhythm+motion", None),
    ("mean+absdiff+motion", None),
    ("absdiff+motion", None),
    ("std+motion", None),
    ("mean+absdiff+dct+motion", None),
    ("mean+absdiff+dct", None),
    ("mean+absdiff+dct+order", None),
    ("motion", None),
    ("mean+absdiff", None),
    ("clip", None),
)


def kinds_for(blocks: Sequence[FrameBlock]) -> tuple[str, ...]:
    """The signature kinds to choose among for these blocks, the default first, each once."""
    term_names, block_kinds = available_terms(blocks), {block.kind for block in blocks}
    cut = (
        "+".join(t for t in kind.split("+") if t.partition(":")[0] in term_names)
        for kind, requires in _KINDS
        if requires is None or requires in block_kinds
    )
    return tuple(dict.fromkeys(kind for kind in cut if kind))


def plain_kind(blocks: Sequence[FrameBlock]) -> str:
    """A kind for how alike clips are at large: what is there and what changes, if it is known."""
    available = available_terms(blocks)
    return "mean+absdiff" if "absdiff" in available else available[0]
