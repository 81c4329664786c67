"""``onnx:FOLDER``: a model that ``vlar export`` wrote, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from vlar.encoders.onnx.folder import (
    GRAPHS,
    TOKENIZER,
    Description,
    read_description,
    read_graph,
    read_part,
)
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError
from vlar.registry import register
from vlar.types import Float32, JsonDict

_LEAST_COSINE = 0.999
_log = logging.getLogger("vlar")


@register("encoder", "onnx")
class OnnxEncoder(TorchEncoder):
    """The graphs of ``vlar export`` through ONNX Runtime, one thread, on the CPU."""

    contract_argument: ClassVar[str | None] = None  # a folder; tests/unit/encoders/onnx makes one

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> OnnxEncoder:
        """Load a folder.

        Args:
            argument: A folder that ``vlar export`` wrote.
            device: None or ``cpu``.
            dtype: None or ``float32``.

        Raises:
            UsageError: another device or type is given.
            ModelError: a file is missing, changed, malformed or not safe to run.
        """
        if device not in (None, "cpu") or dtype not in (None, "float32"):
            raise UsageError(
                f"onnx:{argument} runs on the CPU in float32, got device {device!r} and dtype "
                f"{dtype!r}; leave them out"
            )
        folder = Path(argument).expanduser()
        if not folder.is_dir():
            raise ModelError(f"{argument!r} is not a folder; write one: vlar export MODEL FOLDER")
        return cls.open(folder, f"onnx:{argument}")

    @classmethod
    def open(cls, folder: Path, name: str) -> OnnxEncoder:
        """Load a folder under a name; errors as in ``from_spec``."""
        described = read_description(folder)
        least = min((float(value) for value in described.check.values()), default=0.0)
        if not least >= _LEAST_COSINE:
            raise ModelError(
                f"{name} differs from the model it was made from (cosine {least:.4f} in its own "
                "check); export it again"
            )
        return cls(described, folder, name)

    def __init__(self, described: Description, folder: Path, name: str) -> None:
        """Take over a folder whose description was read.

        Raises:
            ModelError: a file is missing, changed, malformed or not safe to run.
        """
        from vlar.pose.onnx_session import make_session

        graphs = (read_graph(folder, graph, described) for graph in GRAPHS)
        image, text, self._pool = (make_session(graph, name) for graph in graphs)
        super().__init__(_towers(described, folder, image, text), name, n_frames=described.n_frames)
        self.frames_fixed = described.frames_fixed
        self.templates = described.templates

    def pool(self, features: Float32) -> Float32:
        """(N, T, D) to (N, D) float32 of unit length, one window at a time."""
        rows = [_run(self._pool, "features", window[None]) for window in features]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *rows])


def _towers(described: Description, folder: Path, image: Any, text: Any) -> Any:
    import torch

    from vlar.encoders.clip.pixels import Pixels
    from vlar.encoders.clip.towers import Towers
    from vlar.encoders.onnx.tokens import stored_tokens

    what = f"onnx:{folder}"
    data = read_part(folder, TOKENIZER, described) if TOKENIZER in described.files else None
    scale = torch.nn.ParameterDict({"log_scale": torch.tensor(float(described.logit_scale)).log()})
    settings: JsonDict = {**described.pixels, "mean": tuple(described.pixels["mean"])}
    settings["std"] = tuple(described.pixels["std"])

    def refused(*_: object) -> NoReturn:
        raise ModelError(
            f"{what} shows no transformer blocks and cannot be trained or adapted inside; use the "
            f"model that it was made from ({described.source})"
        )

    def run(session: Any, name: str) -> Any:
        # One row at a time: products round by their shape, and a row must not depend on others.
        def features(batch: torch.Tensor) -> torch.Tensor:
            rows = [_run(session, name, row[None]) for row in batch.numpy()]
            return torch.from_numpy(np.concatenate(rows))

        return features

    digest = hashlib.sha256("".join(sorted(described.files.values())).encode()).hexdigest()
    return Towers(
        model=scale.requires_grad_(False),
        image=run(image, "pixels"),
        text=run(text, "ids"),
        tokens=stored_tokens(described.tokens, data, what),
        pixels=Pixels(**settings),
        dim=described.dim,
        log_scale=lambda: scale["log_scale"],
        vision_view=refused,
        text_view=refused,
        rebuild=refused,
        logit_bias=described.logit_bias,
        licence=described.licence,
        variant=f"onnx {digest}",
    )


def _run(session: Any, name: str, value: Any) -> Float32:
    try:
        return session.run(None, {name: value})[0]
    except Exception as error:  # the runtime raises its own kinds, which are not public
        text = " ".join(str(error).split())[:160]
        raise ModelError(f"ONNX Runtime cannot run the graph that takes {name}: {text}") from error
