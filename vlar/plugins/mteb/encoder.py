"""A model of vlar by the interface of mteb: ``encode``, ``similarity``, ``mteb_model_meta``.

mteb recognises a model by its methods (``mteb.models.EncoderProtocol``), so nothing of mteb is
imported before a task runs.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError
from vlar.model.model import Model, load
from vlar.numeric import unit
from vlar.types import Failure, Float32, Window

# pyright: reportMissingImports=false
# mteb comes with an extra, so a checkout may lack it.


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
        kwargs: Not used; mteb passes options of other wrappers.

    Attributes:
        failures: Recordings that could not be read.

    Raises:
        UsageError: the model reads another sensor than video, or its text depends on the video, so
            that a text has no vector of its own.
    """

    def __init__(
        self,
        model_name: str | Path | Model = "lite",
        revision: str | None = None,
        *,
        device: str | None = None,
        **kwargs: Any,
    ) -> None:
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
        self.failures: list[Failure] = []
        self._vectors: dict[_Key, Float32] = {}

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
            task_metadata: Not used.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Whether texts are queries; it counts where the model has two roles.
            kwargs: Not used.

        Raises:
            UsageError: a batch holds neither.
        """
        role = "query" if str(getattr(prompt_type, "value", prompt_type)) == "query" else "label"
        parts: list[Float32] = []
        for batch in _undecoded(inputs):
            if "video" in batch:
                parts.append(self.encode_videos(batch["video"]))
            elif "text" in batch:
                parts.append(self.model.encoder.encode_in_role(list(batch["text"]), role))
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
            rows = self.model.words.encode_spans(self.model.view_sampler.sample_each(iter(spans)))
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
