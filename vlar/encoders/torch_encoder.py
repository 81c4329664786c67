"""The encoder contract over a torch model with an image and a text tower."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import Self

from vlar.cancellation import check
from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess, load_encoder
from vlar.encoders.memory import FRAMES, fitting, in_parts
from vlar.encoders.protocols import PatchTokens
from vlar.encoders.sentence_tower import SENTENCE_WIDTH, sentence_vectors, tower_hash
from vlar.encoders.session import FrameMemory, SeenFrame, Session
from vlar.encoders.text_batches import filled_batches, parts_of
from vlar.errors import ModelError, UsageError
from vlar.files.workers.ahead import in_order
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Float32, Role, UInt8

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vlar.encoders.clip.towers import Towers

_log = logging.getLogger("vlar")
_TEXTS = 256  # texts at a time on an accelerator
_GPU_FRAMES = 256  # frames at a time on an accelerator
_GPU_BYTES = 64 << 20  # of samples that make a batch there


class TorchEncoder(Encoder, PatchTokens):
    """Frame-wise towers: clip vector = mean of the raw frame features, scaled to length 1.

    On a CPU clips run one at a time, so the result of a clip is bit for bit the same alone and in
    company. On an accelerator up to 256 frames run at a time.

    Attributes:
        towers: The torch side: model, tokeniser, pixels, block views.
        logit_bias: Added to scaled cosines by sigmoid models (SigLIP), else None.
        in_float32: Loads the model again in float32 where the device chose the number type.
    """

    libraries = ("torch",)
    types: ClassVar[bool] = True
    in_float32: Callable[[], Any] | None = None
    towers: Towers
    logit_bias: float | None
    templates = "video"

    def __init__(self, towers: Towers, name: str, *, n_frames: int = 8) -> None:
        """Take over loaded towers."""
        self.towers = towers
        self.name = name
        self.n_frames = n_frames
        self.dim = self.frame_dim = towers.dim
        self.logit_scale = float(towers.log_scale().exp())
        self.states_scale = towers.states_scale
        self.logit_bias = towers.logit_bias
        self.max_tokens = towers.tokens.max_tokens
        pixels = towers.pixels
        fit = "squash" if pixels.fit == "squash" else "crop"
        self.preprocess = Preprocess(pixels.height, pixels.width, pixels.mean, pixels.std, fit)
        self.blocks = (Block("joint", self.dim, 1.0, has_text=True),)
        self.frame_blocks = (FrameBlock("appearance", self.dim, "appearance"),)
        self.licence = towers.licence
        self.fingerprint = towers.fingerprint()
        self._cut: set[str] = set()

    def twin(self) -> TorchEncoder:
        """The same encoder on a copy of its model, for methods that change the towers."""
        towers = self.towers.rebuild(copy.deepcopy(self.towers.model))
        return TorchEncoder(towers, self.name, n_frames=self.n_frames)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to frame features (T, D), not normalised, and their mean scaled to length 1."""
        return encode_batches(self.pixel_batches(clips), self._frames, self.pool, self.name)

    def session(self, *, features: bool = True) -> Session:
        """The tower runs once on a frame that several windows share."""
        return _FrameSession(self)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pixels of clips to their features, and to context where text depends on the video.

        Args:
            pixels: (n, T, 3, height, width), normalised, on the device.

        Returns:
            (n, T, D), not normalised, and (n, k, E) or None.
        """
        return self.towers.image(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]), None

    def pool(self, features: Float32) -> Float32:
        return unit(features.mean(axis=1, dtype=np.float32))

    @property
    def has_patches(self) -> bool:
        """Whether the tower is a plain ViT, frame by frame."""
        try:
            return not self.per_clip and bool(self.towers.vision_view().blocks)
        except ModelError:
            return False

    def encode_regions(self, frames: UInt8, rows: int, columns: int) -> Float32:
        """Parts of frames: the mean of their patch tokens, which also read what is around them."""
        import torch

        run = self.towers.vision_view().patches

        def patches(pixels: Tensor) -> Tensor:
            return torch.cat(list(in_parts(run, pixels, FRAMES, self.name)))

        return self._parts(patches, frames, rows, columns)

    def _parts(
        self, patches: Callable[[Tensor], Tensor], frames: UInt8, rows: int, columns: int
    ) -> Float32:
        """Patches (T, height, width, F) of frames to the means of their parts (T, R, D)."""
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        with torch.inference_mode():
            maps = patches(self.pixels_of(frames)).permute(0, 3, 1, 2).float()
            parts = adaptive_avg_pool2d(maps, (rows, columns)).flatten(2).transpose(1, 2)
        pooled = unit(parts.cpu().numpy())
        return np.pad(pooled, ((0, 0), (0, 0), (0, self.dim - pooled.shape[2])))

    def cost(self, shape: Sequence[int]) -> int:
        from vlar.encoders.clip.operations import multiply_adds

        alone = type(self)._frames is TorchEncoder._frames  # a frame does not depend on others
        times, n_frames = (shape[0], 1) if alone else (1, shape[0])
        pixels = self.pixels_of(np.zeros((n_frames, *shape[1:]), np.uint8))[None]
        return times * multiply_adds(lambda: self._frames(pixels))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; a text that is too long is cut and reported."""
        import torch

        vectors = np.zeros((len(texts), self.dim), np.float32)
        if texts:
            ids = self.token_ids(list(texts))
            with torch.inference_mode():
                for rows in self._text_batches(ids):
                    check()
                    part = ids[rows].to(self.towers.device)
                    parts = in_parts(self.towers.text, part, "texts", self.name)
                    vectors[rows] = np.concatenate([x.float().cpu().numpy() for x in parts])
        return unit(vectors)

    def _text_batches(self, ids: torch.Tensor) -> list[list[int]]:
        if self.towers.device.type != "cpu":
            return parts_of(range(len(ids)), _TEXTS)
        return filled_batches((ids != ids[:, -1:]).int().sum(dim=1).tolist())

    def count_tokens(self, text: str) -> int:
        return self.towers.tokens.count(text)

    def token_ids(self, texts: list[str], max_tokens: int | None = None) -> torch.Tensor:
        """Texts to ids (C, L) in memory; cuts are reported once per text."""
        limit = self.max_tokens if max_tokens is None else min(max_tokens, self.max_tokens)
        ids = self.towers.tokens.ids(texts, limit)
        for text in texts:
            count = self.towers.tokens.count(text) if len(text.encode()) >= limit - 2 else 0
            if count > limit and text not in self._cut:
                self._cut.add(text)
                dropped = self.towers.tokens.dropped(text, limit)
                _log.warning(
                    "text cut: %r has %d tokens, %s reads %d; dropped: %r",
                    _short(text),
                    count,
                    self.name,
                    limit,
                    _short(dropped),
                )
        return ids

    def pixel_batches(self, clips: Iterable[Clip]) -> Iterator[Tensor]:
        """Normalised pixels of a few clips at a time, on the device.

        Clips of one batch follow each other and have the same number of frames. On a CPU a batch is
        one clip: batches gain nothing there, and products round by their shape.

        Yields:
            (n, T, 3, height, width).

        Raises:
            UsageError: a clip is not (T, H, W, 3) uint8, or has a T the encoder cannot take.
        """
        import torch

        most = fitting(FRAMES, _GPU_FRAMES) if _in_batches(self.towers.device) else 0
        batch: list[Tensor] = []
        for pixels in self.pixels_ahead(self._checked(clips)):
            full = (len(batch) + 1) * len(pixels) > most
            if batch and (full or pixels.shape != batch[0].shape):
                yield torch.stack(batch) if len(batch) > 1 else batch[0][None]
                batch = []
            batch.append(pixels)
        if batch:
            yield torch.stack(batch) if len(batch) > 1 else batch[0][None]

    def _checked(self, clips: Iterable[Clip]) -> Iterator[UInt8]:
        for clip in clips:
            self.check_clip(clip)
            yield clip.data

    def pixels_of(self, frames: UInt8) -> Tensor:
        """Frames (N, H, W, 3) to pixels (N, 3, height, width), normalised, on the device."""
        return next(self.pixels_ahead([frames]))

    def pixels_ahead(self, parts: Iterable[UInt8]) -> Iterator[Tensor]:
        """``pixels_of`` of each part, in order.

        An accelerator does not wait: threads resize the next parts while it computes.
        """
        from vlar.encoders.clip.pixels import normalised

        towers = self.towers
        images = map(self.resize_frames, parts)
        if _in_batches(towers.device):
            images = in_order(iter(parts), self.resize_frames, workers=4, look_ahead=8)
        for part in images:
            yield normalised(part, towers.pixels, towers.device, towers.dtype)

    def resize_frames(self, frames: UInt8) -> Tensor:
        """Frames (N, H, W, 3) to pixels (N, 3, height, width) on the CPU.

        They are uint8, or floats that are normalised already. Any thread may call it.
        """
        from vlar.encoders.clip.pixels import resized

        return resized(frames, self.towers.pixels)

    def check_clip(self, clip: Clip) -> None:
        """Refuse what is not a clip of RGB frames.

        Raises:
            UsageError: wrong sensor, shape or type, or a number of frames the encoder cannot take.
        """
        shape = list[int](getattr(clip.data, "shape", ()))
        wrong = len(shape) != 4 or shape[-1] != 3 or 0 in shape or clip.data.dtype != np.uint8
        if clip.modality != self.modality or wrong:
            raise UsageError(
                f"{self.name} takes video clips (T, H, W, 3) uint8, got {clip.modality} "
                f"{tuple(shape)} {getattr(clip.data, 'dtype', type(clip.data).__name__)}"
            )
        if self.frames_fixed and shape[0] != self.n_frames:
            raise UsageError(
                f"{self.name} takes exactly {self.n_frames} frames per clip, got {shape[0]}; "
                f"sample {self.n_frames}"
            )


class _FrameSession(Session):
    """Remembers the features of single frames.

    On a CPU the new frames of one clip run at a time, on an accelerator those of several clips.
    """

    def __init__(self, encoder: TorchEncoder) -> None:
        super().__init__(encoder.encode, encoder.encode_blocks)
        self._encoder = encoder
        self._memory = FrameMemory[Float32]()
        self.batch_bytes = _GPU_BYTES if _in_batches(encoder.towers.device) else 1

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        clips_frames: list[list[SeenFrame[Float32]]] = []
        parts: list[list[SeenFrame[Float32]]] = []  # new frames of each clip that has any
        queued: dict[int, SeenFrame[Float32]] = {}
        for clip in clips:
            self._encoder.check_clip(clip)
            clips_frames.append(self._memory.look_up(clip, range(len(clip.data))))
            missing = {id(frame): frame for frame in clips_frames[-1] if frame.result is None}
            fresh = [frame for key, frame in missing.items() if key not in queued]
            queued |= missing
            if fresh:
                parts.append(fresh)
        batch: list[tuple[Tensor, list[SeenFrame[Float32]]]] = []
        in_batches = _in_batches(self._encoder.towers.device)
        most = fitting(FRAMES, _GPU_FRAMES) if in_batches else 0
        stacks = (np.stack([frame.pixels for frame in fresh]) for fresh in parts)
        for pixels, fresh in zip(self._encoder.pixels_ahead(stacks), parts, strict=True):
            full = sum(len(rows) for _, rows in batch) + len(fresh) > most
            if batch and (full or pixels.shape[1:] != batch[0][0].shape[1:]):
                self._run(batch)
            batch.append((pixels, fresh))
        self._run(batch)
        rows = (
            np.stack([frame.result for frame in frames if frame.result is not None])
            for frames in clips_frames
        )
        return [Encoded(row, self._encoder.pool(row[None])[0]) for row in rows]

    def _run(self, batch: list[tuple[Tensor, list[SeenFrame[Float32]]]]) -> None:
        import torch

        if not batch:
            return
        frames = [frame for _, part in batch for frame in part]
        with torch.inference_mode():
            pixels = torch.cat([pixels for pixels, _ in batch])
            parts = in_parts(self._encoder.towers.image, pixels, FRAMES, self._encoder.name)
            rows = (row for part in parts for row in part.float().cpu().numpy())
            for frame, row in zip(frames, rows, strict=True):
                frame.result = row
        batch.clear()


def encode_batches(
    batches: Iterable[Tensor],
    frames_of: Callable[[Tensor], tuple[Tensor, Tensor | None]],
    pool: Callable[[Float32], Float32],
    name: str,
) -> list[Encoded]:
    """Run batches of pixels through a tower, without gradients.

    Args:
        batches: (n, T, 3, height, width) each.
        frames_of: Pixels to features (n, T, D), and to context (n, k, E) or None.
        pool: Features (n, T, D) to vectors (n, D).
        name: The encoder, for messages.

    Returns:
        One row a clip, in order.

    Raises:
        ModelError: one clip does not fit into the memory of an accelerator.
    """
    import torch

    rows: list[Encoded] = []
    with torch.inference_mode():
        for pixels in batches:
            check()
            for frames, context in in_parts(frames_of, pixels, FRAMES, name, pixels.shape[1]):
                features = frames.float().cpu().numpy()
                contexts = [None] * len(features)
                if context is not None:
                    contexts = list(context.float().cpu().numpy())
                rows += map(Encoded, features, pool(features), contexts)
    return rows


def _in_batches(device: torch.device) -> bool:
    return device.type != "cpu"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


class WholeClipEncoder(TorchEncoder):
    """VideoPrism, PE-Video and their like: frames attend to each other from the first block on.

    The order of frames counts. Features are (1, D), the clip's own vector before it is scaled.
    """

    per_clip = True

    def __init__(
        self,
        towers: Towers,
        name: str,
        *,
        n_frames: int,
        frames_fixed: bool = False,
        fps: float | None = None,
        max_frames: int | None = None,
    ) -> None:
        """Take over loaded towers.

        Args:
            towers: Their ``image`` takes clips (N, T, 3, height, width).
            name: The spec that loads this encoder again.
            n_frames: T.
            frames_fixed: Whether no other T works.
            fps: Frames a second where T follows the length of a clip.
            max_frames: The largest T at ``fps``.
        """
        super().__init__(towers, name, n_frames=n_frames)
        self.frames_fixed, self.fps, self.max_frames = frames_fixed, fps, max_frames
        self.frame_blocks = (FrameBlock("clip", self.dim, "clip"),)
        if fps is not None:
            told = f"{self.fingerprint} {fps} {max_frames}"
            self.fingerprint = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.towers.image(pixels)[:, None], None

    def session(self, *, features: bool = True) -> Session:
        """Windows share frames, and no work."""
        return Session(self.encode, self.encode_blocks)


class WordlessEncoder(TorchEncoder):
    """Networks of whole clips that were trained without texts: R(2+1)D, VideoMAE and their like.

    The vector holds two blocks. ``clip`` is the mean of the features, and texts leave it zero.
    ``sentence`` is the sentence vector of a text, and clips leave it zero until an adapter maps
    them there (``aligned``, ``align``). So examples and similar clips are answered, and words alone
    are not.

    Attributes:
        named: Whether its spec gives the shape of the network, without any file.
    """

    templates = "plain"
    named: ClassVar[bool] = False

    def __init__(
        self,
        towers: Towers,
        name: str,
        *,
        n_frames: int,
        rows: int | None = None,
        frames_fixed: bool = False,
    ) -> None:
        """Take over a loaded network.

        Args:
            towers: Their ``image`` takes clips (N, T, 3, height, width) to (N, rows, F).
            name: The spec that loads this encoder again.
            n_frames: T.
            rows: Rows of the features in the order of time; None for one vector a clip.
            frames_fixed: Whether no other T works.
        """
        super().__init__(towers, name, n_frames=n_frames)
        self.frames_fixed, self.fixed_rows, self.per_clip = frames_fixed, rows, rows is None
        self.frame_dim, self.dim = towers.dim, towers.dim + SENTENCE_WIDTH
        kind = "clip" if rows is None else "appearance"
        self.frame_blocks = (FrameBlock("clip", towers.dim, kind),)
        self.blocks = (
            Block("clip", towers.dim, 1.0, has_text=False),
            Block("sentence", SENTENCE_WIDTH, 1.0, has_text=True),
        )
        told = f"{self.fingerprint} {tower_hash()}"
        self.fingerprint = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def twin(self) -> Self:
        """The same encoder on a copy of its network in float32, for methods that train it."""
        copied = copy.copy(self)
        copied.towers = self.towers.rebuild(copy.deepcopy(self.towers.model).float())
        return copied

    def without_weights(self) -> Encoder:
        """The network with zeros for weights, which loads without a file; itself unless named."""
        from vlar.encoders.clip.wordless import empty_spec

        spec = empty_spec(self.name) if self.named else self.name
        if spec == self.name:
            return self
        return load_encoder(spec, str(self.towers.device))

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.towers.image(pixels), None

    def pool(self, features: Float32) -> Float32:
        """(N, rows, F) to (N, D) float32 of unit length; the block of sentences is zero."""
        mean = super().pool(features)
        return np.pad(mean, ((0, 0), (0, SENTENCE_WIDTH)))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; the block of clips is zero."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        if texts:
            vectors[:, -SENTENCE_WIDTH:] = sentence_vectors(texts)
        return vectors

    def session(self, *, features: bool = True) -> Session:
        """Windows share frames, and no work."""
        return Session(self.encode, self.encode_blocks)
