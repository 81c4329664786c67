"""A model of vlar by the interface of mteb: ``encode``, ``similarity``, ``mteb_model_meta``.

mteb recognises a model by its methods (``mteb.models.EncoderProtocol``), so nothing of mteb is
imported before a task runs.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vlar.errors import DecodeError, UsageError
from vlar.media.base import Reader
from vlar.media.views import Views
from vlar.model.model import Model, load
from vlar.numeric import unit
from vlar.types import Clip, Failure, Float32, Float64, Sampling, Window

# pyright: reportMissingImports=false
# mteb comes with an extra, so a checkout may lack it.


_TIMEOUT_S = 60.0


class FrameDecoder:
    """A recording as torchcodec's ``VideoDecoder`` shows one: frames by number.

    Attributes:
        metadata: ``num_frames`` and ``end_stream_seconds``.
        picked: The frame numbers asked for last.
        times_s: (n,) float64, when each frame is shown, seconds after the first.

    Raises:
        DecodeError: the file cannot be read, or has no frame.
    """

    def __init__(self, path: Path, reader: Reader, sampling: Sampling) -> None:
        self.path = path
        self.picked: list[int] = []
        self._reader = reader
        self._sampling = Sampling(1, shorter_side=sampling.shorter_side, size=sampling.size)
        self.times_s, self.end_s = _frame_times(path)
        self.metadata = SimpleNamespace(
            num_frames=len(self.times_s), end_stream_seconds=float(self.end_s)
        )

    def get_frames_at(self, indices: Sequence[int]) -> Any:
        """Frames by number, as ``.data``: (n, 3, H, W) uint8 tensor."""
        import torch

        self.picked = [int(index) for index in indices]
        ends = np.append(self.times_s[1:], self.end_s)
        numbers = sorted(set(self.picked))
        # A window of one frame from its own time to the next one's: its middle shows that frame.
        spans = [Window(float(self.times_s[i]), float(ends[i])) for i in numbers]
        clips: dict[int, Clip] = {}
        for index, clip in zip(
            numbers, self._reader.read_windows(self.path, spans, self._sampling), strict=True
        ):
            if isinstance(clip, Failure):
                raise DecodeError(clip.message)
            clips[index] = clip
        frames = np.stack([clips[index].data[0] for index in self.picked])
        return SimpleNamespace(data=torch.from_numpy(frames).permute(0, 3, 1, 2))


def mteb_clip(path: Path, reader: Reader, sampling: Sampling) -> Clip:
    """A clip whose T frames mteb's sampler picks (``num_frames=T``).

    Returns:
        The clip; ``meta["seen"]`` is the share of the recording from its first to its last frame.

    Raises:
        DecodeError: the file cannot be read.
    """
    from mteb.models.modality_collators import FramesCollator

    decoder = FrameDecoder(path, reader, sampling)
    frames = FramesCollator.resample_video(
        decoder,  # type: ignore[arg-type]  # as much of a VideoDecoder as the sampler uses
        num_frames=sampling.frames_in(decoder.end_s),
    )
    data = frames.permute(0, 2, 3, 1).contiguous().numpy()
    times = decoder.times_s[decoder.picked]
    span = max(float(decoder.times_s[-1] - decoder.times_s[0]), 1e-9)
    share = min(float(times.max() - times.min()) / span, 1.0) if len(decoder.times_s) > 1 else 1.0
    return Clip(path, Window(0.0, decoder.end_s), "video", data, times, meta={"seen": share})


def _frame_times(path: Path) -> tuple[Float64, float]:
    """(n,) seconds at which frames are shown, from the packets, and where the last one ends."""
    from vlar.media.video.container import errors_of, opened

    with errors_of(path), opened(path, _TIMEOUT_S) as video:
        numerator, denominator = video.seconds_a_tick
        stamps = [p.dts if p.pts is None else p.pts for p in video.packets()]
        frame_s = 1 / video.fps
    stamps_known = sorted({stamp for stamp in stamps if stamp is not None})
    if not stamps_known:
        raise DecodeError(f"{path}: no frame has a time, so mteb's sampler cannot count frames")
    times = (np.array(stamps_known, np.float64) - stamps_known[0]) * numerator / denominator
    return times, float(times[-1] + frame_s)


# pyright: reportMissingImports=false
# mteb comes with an extra, so a checkout may lack it.


SAMPLERS = ("vlar", "mteb")
OWN = "vlar-own-data"  # revision of tasks over a user's own data
Video = str | Path | Mapping[str, Any]
_Key = tuple[str, float | None, float | None]


class VlarEncoder:
    """Any model of vlar in mteb (``mteb.models.EncoderProtocol``).

    A recording is encoded once and kept by its path, so that several tasks share it. A recording
    that cannot be read stands in ``failures`` and has a zero vector, which answers nothing.

    Args:
        model_name: A name from ``vlar models``, a model folder, or a loaded model.
        revision: Not used; the fingerprint of the model is its revision.
        device: As for ``vlar.load``.
        sampler: Who picks frames: ``vlar`` (the middles of T equal parts of the time, more views
            of a long recording) or ``mteb`` (its ``FramesCollator`` with ``num_frames`` = T).
        kwargs: Not used; mteb passes options of other wrappers.

    Attributes:
        failures: Recordings that could not be read.
        seen: With mteb's sampler, the share of each recording between the first and the last frame.

    Raises:
        UsageError: the sampler does not exist, the model reads another sensor than video, or its
            text depends on the video, so that a text has no vector of its own.
    """

    def __init__(
        self,
        model_name: str | Path | Model = "lite",
        revision: str | None = None,
        *,
        device: str | None = None,
        sampler: str = "vlar",
        **kwargs: Any,
    ) -> None:
        if sampler not in SAMPLERS:
            raise UsageError(
                f"sampler {sampler!r} does not exist; use one of {', '.join(SAMPLERS)}"
            )
        is_model = isinstance(model_name, Model)
        self.model = model_name if is_model else load(model_name, device=device)
        if self.model.modality != "video":
            raise UsageError(
                f"model {self.model.name!r} reads {self.model.modality!r}; mteb's tasks give video"
            )
        if self.model.words.conditions_text:
            raise UsageError(
                f"text depends on the video in model {self.model.name!r}, so it has no vector of "
                "its own for mteb; use 'vlar eval' for such a model"
            )
        self.sampler = sampler
        self.failures: list[Failure] = []
        self.seen: dict[str, float] = {}
        self._vectors: dict[_Key, Float32] = {}

    @property
    def n_encoded(self) -> int:
        """Recordings that were encoded so far, each once."""
        return len(self._vectors)

    @property
    def mteb_model_meta(self) -> Any:
        """``mteb.models.ModelMeta``: name, fingerprint, width, modalities, similarity."""
        from mteb.models import ModelMeta

        name = re.sub(r"[^\w.-]+", "-", self.model.name).strip("-")
        return ModelMeta(
            loader=None,
            name=f"vlar/{name}",
            revision=self.model.fingerprint[:16],
            release_date=None,
            languages=["eng-Latn"],
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=self.model.encoder.max_tokens,
            embed_dim=self.model.words.dim,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name="cosine",  # type: ignore[arg-type]  # mteb turns it into its enum
            use_instructions=False,
            training_datasets=None,
            modalities=["text", "video"],
            experiment_kwargs={"sampler": self.sampler},
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Float32:
        """Videos or texts to unit vectors (N, D) float32.

        Args:
            inputs: A torch ``DataLoader`` whose batches hold ``video`` or ``text``.
            task_metadata: The labels and queries of own data go through the model's templates;
                the texts of other tasks are encoded as the task gives them.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Whether texts are queries; it counts where the model has two roles.
            kwargs: Not used.

        Raises:
            UsageError: a batch holds neither.
        """
        is_query = str(getattr(prompt_type, "value", prompt_type)) == "query"
        is_ours = task_metadata.dataset.get("revision") == OWN
        parts: list[Float32] = []
        for batch in _undecoded(inputs):
            if "video" in batch:
                parts.append(self.encode_videos(batch["video"]))
            elif "text" in batch:
                parts.append(self._encode_texts(list(batch["text"]), is_ours, is_query))
            else:
                raise UsageError(f"a batch of {', '.join(batch)} is not video and not text")
        return np.concatenate(parts) if parts else np.zeros((0, self.model.words.dim), np.float32)

    def encode_videos(self, videos: Sequence[Video]) -> Float32:
        """Recordings to unit vectors (N, D) float32; a zero row for one that cannot be read.

        Args:
            videos: Paths; or ``{"path", "bytes"}`` as ``datasets.Video(decode=False)`` gives them,
                with ``start_s`` and ``end_s`` for a span.
        """
        keys = [_key_of(video) for video in videos]
        missing = {k: v for k, v in zip(keys, videos, strict=True) if k not in self._vectors}
        with tempfile.TemporaryDirectory() as folder:
            paths = [_path_of(video, Path(folder)) for video in missing.values()]
            spans = [(path, _span_of(key)) for path, key in zip(paths, missing, strict=True)]
            rows = self.model.words.encode_spans(self._views(spans))
            for key, row in zip(missing, rows, strict=True):
                if isinstance(row, Failure):
                    self.failures.append(row)
                    self._vectors[key] = np.zeros(self.model.words.dim, np.float32)
                else:
                    self._vectors[key] = row.encoded.vector
        return np.stack([self._vectors[key] for key in keys])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (n, m), a torch tensor; 0 where a recording could not be read."""
        import torch

        return torch.from_numpy(_rows(embeddings1) @ _rows(embeddings2).T)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (n,) of rows in pairs, a torch tensor."""
        import torch

        return torch.from_numpy((_rows(embeddings1) * _rows(embeddings2)).sum(axis=1))

    def _encode_texts(self, texts: list[str], own: bool, is_query: bool) -> Float32:
        if own:
            return (
                self.model.words.encode_queries if is_query else self.model.words.encode_labels
            )(texts)
        return self.model.encoder.encode_in_role(texts, "query" if is_query else "label")

    def _views(self, spans: list[tuple[Path, Window | None]]) -> Iterator[Views | Failure]:
        sampler = self.model.view_sampler
        if self.sampler == "vlar":
            yield from sampler.sample_each(iter(spans))
            return

        for path, window in spans:
            if window is not None:
                raise UsageError(f"{path}: mteb's sampler takes whole recordings, not spans")
            try:
                clip = mteb_clip(path, sampler.reader, sampler.sampling)
            except DecodeError as error:
                yield Failure(path, error.kind, error.message)
                continue
            self.seen[str(path)] = clip.meta["seen"]
            yield [clip]


def _undecoded(inputs: Any) -> Iterable[Mapping[str, Any]]:
    """The batches, with videos as files: decoding them here would take torchcodec."""
    features = getattr(inputs.dataset, "features", None) or {}
    if not hasattr(features.get("video"), "decode"):
        return inputs
    from datasets import Video as VideoColumn
    from torch.utils.data import DataLoader

    files = inputs.dataset.cast_column("video", VideoColumn(decode=False))
    return DataLoader(files, batch_size=inputs.batch_size, collate_fn=inputs.collate_fn)


def _key_of(video: Video) -> _Key:
    if isinstance(video, (str, Path)):
        return str(video), None, None
    path, content = video.get("path"), video.get("bytes")
    if content is not None:
        from hashlib import sha256

        path = f"{sha256(content).hexdigest()} {path or ''}"
    return str(path), video.get("start_s"), video.get("end_s")


def _path_of(video: Video, folder: Path) -> Path:
    """The file of a video; bytes are written to one."""
    if isinstance(video, (str, Path)):
        return Path(video)
    content = video.get("bytes")
    if content is None:
        return Path(str(video["path"]))
    ending = Path(str(video.get("path") or "")).suffix or ".mp4"
    file = folder / f"{len(list(folder.iterdir()))}{ending}"
    file.write_bytes(content)
    return file


def _span_of(key: _Key) -> Window | None:
    _, start_s, end_s = key
    return None if start_s is None or end_s is None else Window(float(start_s), float(end_s))


def _rows(embeddings: Any) -> Float32:
    """(n, D) unit rows; a zero row stays zero."""
    array = np.atleast_2d(np.asarray(embeddings, np.float32))
    return np.where(np.abs(array).sum(axis=1, keepdims=True) > 0, unit(array), 0.0)
