"""``skeleton-net:FILE``: a released network of bodies, which answers with its own classes.

Letters: N clips, M people, T frames, V joints, C classes, W features before the class head.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.encoders.base import Block, Encoder, FrameBlock
from vlar.encoders.class_space import ClassSpace
from vlar.encoders.lite.space import KIND_WEIGHTS, SOFTMAX_SCALE
from vlar.encoders.lite.towers import MAX_TOKENS
from vlar.encoders.sentence_tower import count_word_pieces, tower_hash
from vlar.errors import ModelError, UsageError
from vlar.files.reading import parse_json, read_file
from vlar.media.skeleton.layouts import remap
from vlar.methods.skeleton_towers.limbs import NTU_PARENTS
from vlar.numeric import softmax
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Float64, Role

if TYPE_CHECKING:
    from torch import Tensor

_KIND, _LAYOUT = "skeleton-net", "ntu25"
STREAMS = ("joint", "bone", "motion", "bone_motion")
_K_BONES = ("k_bone", "k_bone_motion")  # of ProtoGCN alone: bones over two steps
_EVERY = (*STREAMS, *_K_BONES)
_OPTIONS = ("labels", "stream", "network", *_EVERY)
_FIELDS = {"file", "stream", "part", "weight"}  # of a member in a list
_MOST_LIST = 1_000_000  # bytes of a list of members
_LOGIT_SCALE = 10.0  # that of the objects of ``lite``, whose rule this is
_CENTRAL, _SPINE, _CHEST = 0.95, 1, 20
#: A tensor that the file of each network alone has; the first that fits is the network.
KEYS = {
    "chase": "shift.0.weight",
    "protogcn": "backbone.prn.query_matrix.weight",
    "skateformer": "joint_person_embedding",
    "hypergcn": "l1.gcn1.hyper_joint",
    "hdgcn": "l1.gcn1.conv.0.3.conv.0.weight",
    "istanet": "blocks.0.pes.pe",
    "psumnet": "layers.0.gcn1.PA",
    "ctrgcn": "l1.gcn1.convs.0.conv1.weight",
}
_TIPS = {"hypergcn": (7, 7, 11, 11), "skateformer": (7, 7, 11, 11)}
_SKATE_CHANGES = {1: 1, 20: 1}
#: Parts of PSUMNet by their number of joints: name, joints of NTU RGB+D, and the joint of the part
#: that each bone hangs on. The right leg hangs one off, as in the released weights.
_PARTS: dict[int, tuple[str, Sequence[int], Sequence[int]]] = {
    25: ("body", range(25), NTU_PARENTS),
    13: (
        "hand",
        (20, 4, 5, 6, 7, 21, 22, 8, 9, 10, 11, 23, 24),
        (0, 0, 1, 2, 3, 4, 4, 0, 7, 8, 9, 10, 10),
    ),
    9: ("leg", (0, *range(12, 20)), (0, 0, 1, 2, 0, 4, 5, 6, 8)),
}


def network_of(state: Mapping[str, Tensor], path: Path) -> str:
    """The name of the network that a file is of.

    Raises:
        ModelError: it is of none.
    """
    for name, key in KEYS.items():
        if key in state:
            return name
    raise ModelError(f"{path} is none of the networks {', '.join(KEYS)}; check the file")


def prepared(clip: Clip, frames: int, people: int, name: str = "ctrgcn") -> Float32:
    """Joints as the networks of NTU RGB+D read them, (M, T, 25, 3).

    The people who move most come first. Frames that show nobody are left out, the central 95 % are
    resized to T, and the spine of the first person in the first frame is the origin. Absent people
    and unseen joints are zeros.

    Args:
        clip: Joints in metres, of any layout of bodies.
        frames: T.
        people: M.
        name: The network; ``protogcn`` reads the middle of even segments instead.

    Raises:
        UsageError: the joints are not in metres.
    """
    if clip.modality != "skeleton" or clip.meta.get("unit") != "m" or clip.data.shape[-1] != 3:
        raise UsageError(
            f"{clip.path}: {_KIND} reads joints in metres, (T, M, V, 3) of the sensor 'skeleton'; "
            "these are of another kind"
        )
    points = np.asarray(remap(clip.data, str(clip.meta.get("layout", "")), _LAYOUT), np.float64)
    visible = np.isfinite(points).all(axis=-1) & (points != 0).any(axis=-1)
    rows = np.zeros((people, frames, points.shape[2], 3), np.float32)
    present = np.flatnonzero(visible.any(axis=(1, 2)))
    if not len(present):
        return rows
    points, visible = points[present], visible[present]
    spread = [
        float(np.nanstd(np.where(visible[..., None], points, np.nan)[:, m], axis=0).sum())
        if visible[:, m].any()
        else -1.0
        for m in range(points.shape[1])
    ]
    order = sorted((m for m in range(len(spread)) if spread[m] >= 0), key=lambda m: -spread[m])
    points, visible = points[:, order[:people]], visible[:, order[:people]]
    start = points[0, 0, _SPINE]
    points = np.where(visible[..., None], points - np.nan_to_num(start), 0.0)
    resized = _segments(points, frames) if name == "protogcn" else _central(points, frames)
    rows[: resized.shape[1]] = resized.swapaxes(0, 1)
    return rows


def _central(points: Float64, frames: int) -> Float64:
    """The central 95 % of rows (n, ...) at T places between them (half-pixel, as torch resizes)."""
    n = len(points)
    count = max(1, int(n * _CENTRAL))
    points = points[(n - count) // 2 :][:count]
    rows = ((np.arange(frames) + 0.5) * count / frames - 0.5).clip(0, count - 1)
    before = rows.astype(int)
    after = np.minimum(before + 1, count - 1)
    share = (rows - before).reshape(-1, *(1,) * (points.ndim - 1))
    return points[before] * (1 - share) + points[after] * share


def _segments(points: Float64, frames: int) -> Float64:
    """The middle row of each of T even segments; a short clip is repeated."""
    n = len(points)
    if n < frames:
        return points[np.arange(frames) % n]
    edges = np.linspace(0, n, frames + 1)
    return points[((edges[:-1] + edges[1:]) / 2).astype(int)]


def stream_of(points: Float32, stream: str, name: str) -> Float32:
    """A stream (M, T, V, 3) of joints (M, T, V, 3), by the bones of a paper; V is 25, or that of
    a part of PSUMNet.
    """
    if "bone" in stream:
        hangs: list[int] = [*_PARTS[points.shape[2]][2]]
        hangs[21:] = _TIPS.get(name, hangs[21:])
        if stream in _K_BONES:
            hangs = [j if up == _CHEST else hangs[up] for j, up in enumerate(hangs)]
        for joint, parent in _SKATE_CHANGES.items() if name == "skateformer" else ():
            hangs[joint] = parent
        points = points - points[:, :, hangs]
    if "motion" in stream:
        points = np.pad(points[:, 1:] - points[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))
    return points


class _Member:
    """A network of one stream or part, what it reads of a clip, and its weight among others."""

    def __init__(
        self,
        path: Path,
        stream: str | None,
        name: str | None,
        part: object = None,
        weight: float = 1,
    ) -> None:
        from vlar.methods.skeleton_towers import released
        from vlar.training import released as files

        state, config = files.read(path)
        self.name, self.weight = name or network_of(state, path), weight
        self.network: Any = released.load(self.name, path)
        sizes = {**released.FULL[self.name], **config}
        self.frames = int(sizes.get("frames", sizes.get("num_frames", 64)))
        self.people = int(sizes.get("people", sizes.get("num_persons", 2)))
        joints = int(sizes.get("joints", sizes.get("num_joints", 25)))
        if self.name == "psumnet":
            joints = state["layers.0.gcn1.PA"].shape[-1]
        parts = {"skateformer": {24}, "psumnet": set(_PARTS)}.get(self.name, {25})
        if joints not in parts:
            raise UsageError(
                f"{path} is of {joints} joints, and {_KIND} reads {self.name} of "
                f"{' or '.join(map(str, sorted(parts)))} joints of NTU RGB+D; use released.load"
            )
        self.part, self.joints, _ = _PARTS.get(joints, _PARTS[25])
        if part not in (None, self.part):
            raise UsageError(f"{path} is of the part {self.part!r}, not {part!r}; correct its part")
        if stream and (self.name == "psumnet" or (stream in _K_BONES and self.name != "protogcn")):
            raise UsageError(f"{path} is of {self.name}, which has no stream {stream!r} alone")
        self.stream = self.part if self.part != "body" else stream or STREAMS[0]
        self.head = released.split_head(self.name, self.network)
        digest = hashlib.blake2b(digest_size=16)
        for key in sorted(state):
            digest.update(key.encode() + state[key].contiguous().view(-1).numpy().tobytes())
        self.digest = digest.hexdigest()

    def rows(self, points: Float32) -> Float32:
        """Input (M, T, V, C) of the network, of joints (M, T, 25, 3)."""
        points = points[:, :, self.joints]
        if self.name == "psumnet":
            return np.concatenate([stream_of(points, s, self.name) for s in STREAMS], axis=-1)
        rows = stream_of(points, self.stream, self.name)
        if self.name == "skateformer":
            from vlar.methods.skeleton_towers.published import SKATE

            rows = rows[:, :, [joint - 1 for joint in SKATE]]
        return np.ascontiguousarray(rows)

    def read(self, clip: Clip) -> tuple[Float32, Float32]:
        """Scores (C,) and features (W,) of a clip."""
        import torch

        rows = self.rows(prepared(clip, self.frames, self.people, self.name))
        with torch.inference_mode():
            features = self.network(torch.from_numpy(rows)[None])
            return self.head(features)[0].numpy(), features[0].numpy()


def _listed(path: Path) -> list[tuple[Path, str | None, object, float]]:
    """File, stream, part and weight of the members that a list names.

    Raises:
        UsageError: it is not a list of members.
    """
    try:
        members = parse_json(read_file(path, _MOST_LIST))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a list of members ({error})") from error
    rows: list[tuple[Path, str | None, object, float]] = []
    for member in members if isinstance(members, list) else ():
        fields: dict[str, Any] = member if isinstance(member, dict) else {}
        file, stream, weight = fields.get("file"), fields.get("stream"), fields.get("weight", 1)
        numeric = isinstance(weight, int | float) and math.isfinite(weight) and weight > 0
        if (
            not (isinstance(file, str) and numeric and fields.keys() <= _FIELDS)
            or stream not in (None, *_EVERY)
        ):  # fmt: skip
            raise UsageError(
                f"{path}: {json.dumps(member)[:100]} is not a member; write for example "
                '{"file": "hand.pt", "part": "hand", "weight": 1.8}'
            )
        rows.append((path.parent / Path(file).expanduser(), stream, fields.get("part"), weight))
    if not rows:
        raise UsageError(f'{path} lists no members; write [{{"file": "body.pt"}}, ...]')
    return rows


@register("encoder", "skeleton-net", status="reproduced")
class SkeletonNetEncoder(Encoder):
    """A published network of bodies: a released file of any of the eight, or of several streams.

    Features are (1, C + W): logarithms of the mean share of each class, and what the class heads
    read, which few-shot methods use.

    Example: ``vlar classify body.skeleton --model skeleton-net:FILE.pt``.
    """

    libraries = ("torch",)
    contract_argument: ClassVar[str | None] = None  # a file of weights is needed
    modality, cpu_only, per_clip, all_samples = "skeleton", True, True, True
    templates = "plain"
    logit_scale = _LOGIT_SCALE
    n_frames = 64
    max_tokens = MAX_TOKENS
    licence = "that of the weights"

    def __init__(self, members: Sequence[_Member], name: str, names: Sequence[str]) -> None:
        self.members, self.name, self.names = tuple(members), name, tuple(names)
        self.trained_labels = self.names
        classes, width = len(self.names), sum(part.head.in_features for part in members)
        self.dim, self.frame_dim = classes, classes + width
        self.blocks = (Block("classes", classes, 1.0, has_text=True),)
        self.frame_blocks = (
            FrameBlock("classes", classes, "logits"),
            FrameBlock("pooled", width, "clip"),
        )
        self._space = ClassSpace(self.names)
        made_by = [part.digest for part in members], [part.stream for part in members], self.names
        told: list[object] = [*made_by, tower_hash(), KIND_WEIGHTS, SOFTMAX_SCALE]
        weights = [part.weight for part in members]
        self._weights = np.array(weights) / (1 if self._adds_logits else sum(weights))
        told += [weights] if set(weights) != {1} else []
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> SkeletonNetEncoder:
        """Load released files.

        Args:
            argument: The file, or a ``.json`` with a list of members such as ``{"file": "hand.pt",
                "stream": "bone", "part": "hand", "weight": 1.8}``; all but ``file``, which lies
                next to the list, may lack. Options follow a ``?``: ``labels=FILE`` (names of the
                classes, one a line), ``stream=joint|bone|motion|bone_motion|k_bone|k_bone_motion``
                (what the file was trained on), ``bone=FILE`` and likewise the others for the
                networks of further streams, and ``network=NAME``. Shares are added with the
                weights; logits, where all members are of PSUMNet.

        Raises:
            UsageError: no names of classes, or as many as a network does not have; a stream of two
                files, a stream or part that a file has not, or a list that is malformed.
            ModelError: a file is missing, damaged, or of none of the networks.
        """
        from vlar.encoders.clip.options import split_options
        from vlar.methods.released.encoder import class_names

        target, options = split_options(argument, _OPTIONS)
        path, what = Path(target).expanduser(), f"{_KIND}:{target}"
        stream = options.get("stream")
        further = {s: Path(options[s]).expanduser() for s in _EVERY if s in options}
        if path.suffix == ".json":
            if stream or further:
                raise UsageError(f"{what} is a list; write every file and stream into it")
            rows = _listed(path)
        else:
            rows = [(path, stream, None, 1), *((f, s, None, 1) for s, f in further.items())]
            if (stream or STREAMS[0]) in further:
                raise UsageError(
                    f"{what} has two files of the stream {stream or STREAMS[0]!r}; state what the "
                    "first was trained on with stream=, or list both in a .json"
                )
        if stream and stream not in _EVERY:
            raise UsageError(f"stream {stream!r} is none of {', '.join(_EVERY)}")
        network = options.get("network")
        members = [_Member(f, s, network, part, weight) for f, s, part, weight in rows]
        names = class_names(options, path, what)
        for member in members:
            if len(names) != member.head.out_features:
                raise UsageError(
                    f"{what} has {member.head.out_features} classes, and {len(names)} names are "
                    "given; write one name a line, in the order of the network"
                )
        return cls(members, f"{_KIND}:{argument}", names)

    @property
    def _adds_logits(self) -> bool:
        return all(part.name == "psumnet" for part in self.members)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows = [self._features(clip) for clip in clips]
        return [Encoded(row, self.pool(row[None])[0]) for row in rows]

    def _features(self, clip: Clip) -> Float32:
        scores, features = zip(*(member.read(clip) for member in self.members), strict=True)
        rows = np.array(scores, np.float64)
        if self._adds_logits:
            shares = softmax(self._weights @ rows)
        else:
            shares = self._weights @ softmax(rows)
        row = np.concatenate([np.log(np.maximum(shares, 1e-12)), *features])
        return row[None].astype(np.float32)

    def pool(self, features: Float32) -> Float32:
        return self._space.video(features[..., : self.dim])

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, classes) float32 of unit length: how near each is to the class names."""
        return self._space.text(texts)

    def count_tokens(self, text: str) -> int:
        return count_word_pieces(text)
