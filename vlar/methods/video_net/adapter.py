"""``video-net``: a network trained by pixels, whose answer is added to an encoder's vector.

Its presets (``presets.toml``) are the networks of the papers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import bad_setting
from vlar.encoders.base import Encoder, FrameBlock, Preprocess
from vlar.encoders.beside import Beside
from vlar.encoders.clip.operations import multiply_adds
from vlar.encoders.fused import repeated
from vlar.encoders.session import Session
from vlar.encoders.torch_encoder import WordlessEncoder
from vlar.errors import ModelError
from vlar.methods.video_net.ada_fuse import Spent
from vlar.methods.video_net.bodies import (
    JOINTS,
    drawn_maps,
    joints_of,
    pose_columns,
    skeleton_joints,
)
from vlar.methods.video_net.network import ENCODER, VideoNetConfig, VideoNetwork
from vlar.methods.video_net.own import OwnNetwork
from vlar.registry import register
from vlar.training.data import clip_pixels, clips_of_pixels
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.towers import ResidualTower
from vlar.training.trainable import DrawPixels, TrainingBatch, TrainingOutput
from vlar.types import Clip, Encoded, Float32, JsonDict

_GREY = (0.5, 0.5, 0.5)
_AS_IN_USE = Hyperparameters()


class Watched(Beside):
    """An encoder, and what a network of clips answers, the same in every row.

    Attributes:
        network: The network; it is set when it is built.
    """

    network: VideoNetwork

    def __init__(self, encoder: Encoder, config: VideoNetConfig) -> None:
        block = FrameBlock("network", sum(config.sizes), "network")
        self.config = config
        self._bodies = pose_columns(encoder) if config.pose != "none" else None
        self._parts: tuple[Encoder, ...] = getattr(encoder, "parts", (encoder,))
        made_by = {**config.to_dict(), "labels": []}
        super().__init__(encoder, [block], json.dumps(made_by, sort_keys=True))
        self.pixels = Preprocess(config.size, config.size, _GREY, _GREY, "squash")

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """(T, W)."""
        with torch.inference_mode():
            small = self.small(clip, self.joints(clip, features), as_in_use)
            answer = self.network.features(small[None])[0].numpy()
        return np.tile(answer, (len(features), 1))

    def of_network(self, features: Float32) -> Float32:
        """(N, W) of the network, from rows (N, T, F + W)."""
        return features[:, 0, self.encoder.frame_dim :]

    def joints(self, clip: Clip, features: Float32) -> Float32 | None:
        """(T, V, 2) of a clip's skeleton, else as the encoder found them; None for no bodies."""
        if self._bodies is None:
            return None
        if "skeleton" in clip.parts:
            return skeleton_joints(clip.parts["skeleton"], self.pictures(clip).times_s)
        rows = features[:, self._bodies]
        return joints_of(rows[repeated(len(rows), len(self.pictures(clip).data))])

    def pictures(self, clip: Clip) -> Clip:
        """The frames of a clip or of its video; grey ones where a bundle has no video."""
        if not clip.parts or "video" in clip.parts:
            return clip.parts.get("video", clip)
        count = next(part.n_frames for part in self._parts if part.modality == "video")
        blank = np.full((count, self.pixels.height, self.pixels.width, 3), 128, np.uint8)
        times_s = np.linspace(clip.window.start_s, clip.window.end_s, count)
        return Clip(clip.path, clip.window, "video", blank, times_s)

    def small(self, clip: Clip, joints: Float32 | None, draw: DrawPixels) -> Tensor:
        """(T, K) what the network reads of a clip."""
        pixels = draw(self.pictures(clip).data, self.pixels).flatten(1)
        if joints is None:
            return pixels
        maps = drawn_maps(joints, self.config.map_size, self.config.sigma, draw)
        return torch.cat([pixels, maps], dim=1)


class Own(Watched):
    """A copy of an encoder's network in its place; of the encoder only the shape is needed."""

    copy: WordlessEncoder

    def __init__(self, encoder: WordlessEncoder, config: VideoNetConfig) -> None:
        Beside.__init__(self, encoder.without_weights(), [], "")
        self.config, self._bodies, self._given = config, None, encoder
        assert encoder.preprocess is not None
        self.pixels = encoder.preprocess

    def build(self, config: VideoNetConfig) -> OwnNetwork:
        """The network at its start: that of the encoder."""
        self.copy = self._given.twin()
        return OwnNetwork(config, self.copy)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self.copy.encode(clips)

    def session(self, *, features: bool = True) -> Session:
        return Session(self.encode)

    def of_network(self, features: Float32) -> Float32:
        return features.mean(axis=1)


def as_in_use(frames: Any, size: Preprocess, colours: bool = True) -> Tensor:
    """Pixels (T, 3, height, width) of frames (T, H, W, 3), without changes."""
    return clip_pixels(frames, size, _AS_IN_USE, None)


@register("adapter", "video-net", status="in the spirit")
class VideoNet(ResidualTower):
    """A network trained by pixels, whose answer is added to the vector of a frozen encoder.

    Until it is trained the vectors are the encoder's own, and labels without examples are answered
    by them. Around a network without texts it learns the labels' texts too.

    Example: ``vlar adapt support/ --out mine --method video-net``.

    Attributes:
        watched: The encoder with the network's features.
        network: The differentiable whole.
        config: The settings.
    """

    method, config_type = "video-net", VideoNetConfig
    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text", "pictures")
    changes: ClassVar[frozenset[str]] = ResidualTower.changes | {"n_frames"}
    reads: Literal["pixels", "features"] = "pixels"
    names_norms: ClassVar[bool] = True
    watched: Watched
    network: VideoNetwork
    config: VideoNetConfig

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        is_wordless = isinstance(encoder, WordlessEncoder) and not getattr(encoder, "flow", False)
        if config.network == ENCODER and not is_wordless:
            raise ModelError(
                f"network 'encoder' trains a network of clips, and encoder {encoder.name!r} has "
                "none of its own; use torchvision:, inflated: (colour), videomae: or vjepa2:, "
                "'tuned' for a CLIP, or another network"
            )
        return config

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Watched:
        """The encoder with the network's features, or its own network."""
        if config.network == ENCODER and isinstance(encoder, WordlessEncoder):
            return Own(encoder, config)
        return Watched(encoder, config)

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """Empty: pixels are read as they are."""
        return []

    def prepare(self) -> None:
        """Set the number of frames.

        Raises:
            ModelError: the encoder takes another number only.
        """
        n_frames = self.config.frames or self.encoder.n_frames
        if self.encoder.frames_fixed and n_frames != self.encoder.n_frames:
            what = f"{self.encoder.n_frames}, which encoder {self.encoder.name!r} takes"
            raise bad_setting(self.config.what, "frames", n_frames, what)
        assert isinstance(self.source, Watched)
        self.watched, self.n_frames = self.source, n_frames
        self.encoder = self.source.encoder
        self._seen: dict[Any, tuple[Float32, Float32 | None]] = {}

    def build(self) -> VideoNetwork:
        """The network at its start."""
        if isinstance(self.source, Own):
            return self.source.build(self.config)
        return VideoNetwork(self.config, self.dim)

    def rebuild(self, config: Any) -> None:
        super().rebuild(config)
        self.watched.network = self.network

    def residual(self, features: Float32) -> Float32:
        """(D,) that is added to the vector of one clip (1, T, F): the network's answer."""
        frames = torch.from_numpy(self.watched.of_network(features)).to(self.network.labels.device)
        return self.network.answer(frames)[0].cpu().numpy()

    def cost(self, shape: Sequence[int]) -> int:
        """Multiply-adds of the encoder and of the network."""
        if isinstance(self.source, Own):
            return self.source.cost(shape)
        width = 3 * self.config.size**2
        if self.config.pose != "none":
            width += JOINTS * self.config.map_size**2
        inputs = torch.zeros(1, shape[0], width)
        return self.encoder.cost(shape) + multiply_adds(lambda: self.network.features(inputs))

    def operations(self, clip: Clip) -> int | None:
        """Multiply-adds of the encoder and of the channels that the choices need."""
        most = super().operations(clip)
        if most is None or self.config.network != "ada-fuse":
            return most
        spent = self._spent(clip)
        return most - round(sum(spent.full) - float(torch.stack(spent.needed).sum()))

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        super().trainable()
        for block in getattr(self.network, "frozen", ()):
            block.requires_grad_(False)
        return [(n, p) for n, p in self.module.named_parameters() if p.requires_grad]

    def clip_inputs(self, clip: Clip, draw: DrawPixels) -> Tensor:
        """(T, K + D): the pixels of each frame, and the encoder's vector of the clip.

        The encoder is asked once about a window, which it reads without the changes of a training.
        """
        key = clip.path, clip.window
        if key not in self._seen:
            self._seen[key] = self.see(clip)
        return self._beside(clip, draw, *self._seen[key])

    def see(self, clip: Clip) -> tuple[Float32, Float32 | None]:
        """The encoder's vector of a clip, and its joints where they are read."""
        if isinstance(self.source, Own):  # its vector follows from the pixels
            return np.zeros(self.dim, np.float32), None
        row = self.encoder.encode([clip])[0]
        return row.vector, self.watched.joints(clip, row.features)

    def _beside(
        self, clip: Clip, draw: DrawPixels, vector: Float32, joints: Float32 | None
    ) -> Tensor:
        small = self.watched.small(clip, joints, draw)
        return torch.cat([small, torch.from_numpy(vector).expand(len(small), -1)], dim=1)

    def in_use(self, clips: Sequence[Clip]) -> tuple[Tensor, Callable[[], Encoded]]:
        inputs = [self._beside(clip, as_in_use, *self.see(clip)) for clip in clips]
        return torch.stack(inputs), lambda: self.encode(clips[:1])[0]

    def inputs_of(self, inputs: Tensor) -> Tensor:
        """Inputs of a step: those of ``clip_inputs``, made where they are pixels of the encoder."""
        size = self.encoder.preprocess
        if inputs.ndim != 5 or size is None:
            return inputs
        clips = clips_of_pixels(inputs, size)
        rows = [self._beside(clip, as_in_use, *self.see(clip)) for clip in clips]
        return torch.stack(rows).to(inputs.device)

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """Scaled cosines, the loss of the task, and that of the operations or of each stream.

        Args:
            batch: Inputs (N, T, K + D) of ``clip_inputs``, or pixels of the encoder.
            classes: From ``training_classes``.
        """
        network, (small, pooled) = self.network, self.split_inputs(batch.inputs)
        spares = self.config.network == "ada-fuse"

        # Norms take their statistics from the whole batch, so several processes compute all of it.
        spent = Spent()
        features = network.features(small, spent)
        base_vectors = network.begun(features, pooled[:, 0])
        words = network.concepts(classes.to(base_vectors.device))
        answers = network.answers(features)
        vectors = F.normalize(base_vectors + torch.stack(answers).sum(dim=0), dim=-1)
        logits = self.logit_scale * vectors @ words.T
        losses = {"task": batch.loss(logits)}
        if len(answers) > 1:  # streams learn apart too
            logits_of_answers = (
                self.logit_scale * F.normalize(base_vectors + x, dim=-1) @ words.T for x in answers
            )
            losses["streams"] = torch.stack([batch.loss(one) for one in logits_of_answers]).mean()
        if spares:
            of = spent.share().mean()
            aim = of if self.config.budget is None else (of - self.config.budget) ** 2
            losses["operations"] = self.config.saving * aim
        losses["total"] = torch.stack(list(losses.values())).sum()
        return TrainingOutput(logits, losses, classes=words, vectors=vectors)

    def spared(self, clip: Clip) -> float:
        """Share of the multiply-adds of the blocks that the choices in a clip leave out, 0 to 1."""
        spent = self._spent(clip)
        return 1.0 - float(spent.share()) if spent.full else 0.0

    def _spent(self, clip: Clip) -> Spent:
        spent, joints = Spent(), self.see(clip)[1] if self.config.pose != "none" else None
        with torch.inference_mode():
            self.network.features(self.watched.small(clip, joints, as_in_use)[None], spent)
        return spent


@register("adapter", "gate-shift-pose", status="in the spirit")
class GateShiftPose(VideoNet):
    """Channels move in time by a gate; joints are a fourth channel, and tokens with the frames.

    A preset of ``video-net`` for encoders that find bodies, and bundles with a skeleton, which is
    read; ``epam`` is another.

    Reference: "Gate-Shift-Pose: enhancing action recognition in sports with skeleton information",
    2025.
    Example: ``vlar adapt support/ --out mine --method gate-shift-pose``.
    """

    method = "gate-shift-pose"
    recipe: ClassVar[str | None] = "video-net"
    needs: ClassVar[tuple[str, ...]] = (*VideoNet.needs, "bodies")
    contract_base: ClassVar[str | None] = None

    @classmethod
    def read_config(cls, settings: JsonDict) -> Any:
        return super().read_config({"network": "gate-shift", "pose": "both", **settings})


@register("adapter", "own-net", status="in the spirit")
class OwnNet(VideoNet):
    """The encoder's own network of clips, trained further by pixels and saved whole.

    Example: ``vlar adapt clips/ --model torchvision:r3d_18 --out mine --method own-net --set
    frozen=3``.
    """

    method = "own-net"
    recipe: ClassVar[str | None] = None
    contract_base: ClassVar[str | None] = None

    @classmethod
    def start_spec(cls, file: str) -> str:
        """Spec of the model that a released file is, without its class head."""
        from vlar.methods.released.encoder import start_spec

        return start_spec(file)

    @classmethod
    def read_config(cls, settings: JsonDict) -> Any:
        return super().read_config({"network": ENCODER, **settings})
