"""Loads and runs sentence-transformers models.

Texts are always handed over as ``{"text": ...}``: the library opens a bare text that looks like an
address or a file as a picture or a video.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open

from vlar.encoders.clip import trust
from vlar.encoders.clip.options import allow_tf32, pick_device, pick_dtype, warn_if_slow
from vlar.encoders.clip.towers import LOADING_ERRORS, quiet_libraries, weights_hash
from vlar.encoders.download import ready
from vlar.encoders.hub_source import Hub
from vlar.encoders.memory import FRAMES, in_parts
from vlar.encoders.spec import INT8, missing_library, other_kind
from vlar.errors import ModelError
from vlar.files.checkpoints import data_only
from vlar.types import Float32, Float64, UInt8

MODULES, CONFIG = "modules.json", "config.json"
_CLASS = re.compile(
    r"sentence_transformers\.(?:models|base\.modules|sentence_transformer\.modules)(?:\.\w+)?\."
    r"(?:Transformer|Pooling|Normalize|Dense|CLIPModel|Router|LayerNorm|Dropout|StaticEmbedding|"
    r"WeightedLayerPooling|WordEmbeddings|WordWeights|BoW|CNN|LSTM)"
)
_ACTIVATION = re.compile(r"torch\.nn\.modules\.(?:activation|linear)\.[A-Za-z0-9]+")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder of a model that would run code, or whose weights are pickles.

    Args:
        folder: With ``modules.json``, or a model of transformers.
        name: Name of the model, for messages.

    Raises:
        ModelError: the message names the file and what is wrong.
    """
    places = [folder]
    if (folder / MODULES).exists():
        rows = trust.read_settings(folder / MODULES, name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ModelError(f"{name}: {folder / MODULES} must hold a list of objects")
        for row in rows:
            _check_class(str(row.get("type")), MODULES, name)
            places.append(_inside(folder, str(row.get("path", "")), name))
    elif (folder / CONFIG).exists():
        classes = [
            str(architecture)
            for architecture in trust.read_settings(folder / CONFIG, name).get("architectures")
            or ()
        ]
        if (kind := other_kind(classes)) is not None:
            raise ModelError(
                f"{name} is {kind} ({classes[0]}) and not an embedder: it has no {MODULES}; "
                "choose an encoder (vlar models)"
            )
    else:
        raise ModelError(
            f"{name}: folder {folder} has neither {MODULES} nor {CONFIG}; save the model with "
            "SentenceTransformer.save"
        )
    for module in dict.fromkeys(places):
        _check_place(module, name)


def _check_place(place: Path, name: str) -> None:
    if not place.is_dir():
        raise ModelError(f"{name}: {place} is not a folder; save the model again")
    trust.check_files(place, name)
    files = [file for file in place.iterdir() if file.is_file()]
    if not any(file.suffix == ".safetensors" for file in files):
        pickled = next((file for file in files if file.suffix in _PICKLES), None)
        if pickled is not None:
            raise ModelError(
                f"{name}: {pickled} is a pickle, which is not opened; save the model as safetensors"
            )
    config = place / CONFIG
    if config.exists():
        trust.check_hf_config(config, name)
        named = trust.read_settings(config, name).get("activation_function")
        if isinstance(named, str) and "." in named and not _ACTIVATION.fullmatch(named):
            raise trust.refusal(name, f"activation_function {named[:80]!r} in {config}")
    router = place / "router_config.json"
    if router.exists():
        types = trust.read_settings(router, name).get("types", {})
        for value in types.values() if isinstance(types, Mapping) else ():
            _check_class(str(value), router.name, name)


def _check_class(value: str, file: str, name: str) -> None:
    if not _CLASS.fullmatch(value):
        raise trust.refusal(name, f"{file} names the class {value[:80]!r}")


def _inside(folder: Path, path: str, name: str) -> Path:
    """A folder that ``modules.json`` names, which must lie in the folder of the model."""
    parts = PurePosixPath(path).parts
    if path.startswith(("/", "\\")) or ".." in parts or ":" in path or "\\" in path:
        raise ModelError(
            f"{name}: {MODULES} names the path {path[:80]!r}; a folder may name only its own files"
        )
    return folder.joinpath(*parts)


_OWN = "sentence-transformers"  # the organisation of names without one
_SETTINGS = "config_sentence_transformers.json"
_LONGEST_PROMPT = 2_000  # characters
_MOST_TOKENS = 512  # of a text, where a model reads more; queries and labels are short
_LONGEST_FRAME = 32  # times as long as wide, or as wide as long
_TICKS = 1_000  # a second: frames are numbered by the millisecond they are shown in
_HALF = ((0.5,) * 3, (0.5,) * 3)


@dataclass(frozen=True)
class StModel:
    """A loaded SentenceTransformer.

    Attributes:
        model: The model.
        sees: ``video``, ``image`` or ``text``.
        prompts: Instructions of the model for ``query``, ``label`` and ``clip``; empty for none.
        licence: Licence, as far as known.
        logit_scale: Factor from cosine to logit; None where the model states none.
    """

    model: Any
    sees: str
    prompts: Mapping[str, str]
    licence: str
    logit_scale: float | None

    @cached_property
    def dim(self) -> int:
        """D, by one text."""
        return int(self.texts(["a person"], "", False).shape[1])

    @property
    def has_routes(self) -> bool:
        """Whether queries take another path through the model than documents."""
        return any(type(module).__name__ == "Router" for module in self.model)

    @property
    def on_accelerator(self) -> bool:
        """Whether texts run in batches of mixed length."""
        return self.model.device.type != "cpu"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and of the text limit."""
        return weights_hash(self.model, f"{self.sees} {self.max_tokens}")

    @cached_property
    def max_tokens(self) -> int:
        """Longest text, special tokens included."""
        return int(min(self.model.max_seq_length or _MOST_TOKENS, _MOST_TOKENS))

    @cached_property
    def side(self) -> int | None:
        """Pixels of a picture's side, where it is fixed."""
        part = getattr(self.model.processor, "image_processor", self.model.processor)
        size = getattr(part, "crop_size", None) or getattr(part, "size", None) or {}
        side = size.get("height") or (size.get("shortest_edge") if self.sees == "image" else None)
        return int(side) if side else None

    @cached_property
    def scaling(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and std of pixels, which the library applies by itself."""
        part = getattr(self.model.processor, "image_processor", self.model.processor)
        mean, std = getattr(part, "image_mean", None), getattr(part, "image_std", None)
        return (tuple(mean), tuple(std)) if mean and std else _HALF  # type: ignore[return-value]

    def count_tokens(self, text: str) -> int:
        """Tokens of a text with the special ones, before any cut."""
        tokenizer = getattr(self.model.tokenizer, "tokenizer", self.model.tokenizer)
        return len(tokenizer(text, verbose=False).input_ids)

    def texts(self, texts: Sequence[str], prompt: str, is_query: bool) -> Float32:
        """C texts to (C, D), not normalised."""
        limit = {"text": {"truncation": True, "max_length": self.max_tokens}}
        inputs: list[Any] = [{"text": text} for text in texts]
        return self._run(inputs, prompt, is_query, limit)

    def images(self, frames: UInt8, prompt: str) -> Float32:
        """Frames (T, H, W, 3) to (T, D), not normalised."""
        from PIL import Image

        return self._run([Image.fromarray(frame) for frame in frames], prompt, False)

    def video(self, frames: UInt8, times_s: Float64, prompt: str) -> Float32:
        """A clip (T, H, W, 3) with its times (T,) to (1, D), not normalised."""
        frames = _without_far_ends(frames)
        if len(frames) == 1:  # video towers merge pairs of frames
            frames, times_s = frames.repeat(2, axis=0), times_s.repeat(2)
        ticks = [round(float(time_s) * _TICKS) for time_s in times_s]
        length_s = float(times_s[-1] - times_s[0]) * len(ticks) / max(len(ticks) - 1, 1)
        metadata = {
            "fps": float(_TICKS),
            "frames_indices": ticks,
            "total_num_frames": max(ticks[-1] + 1, round(length_s * _TICKS), len(ticks)),
            "duration": length_s,
            "height": frames.shape[1],
            "width": frames.shape[2],
        }
        pixels = torch.from_numpy(np.array(frames, order="C")).permute(0, 3, 1, 2)
        inputs = [{"array": pixels, "video_metadata": metadata}]
        return self._run(inputs, prompt, False, {"video": {"do_sample_frames": False}})

    def _run(
        self,
        given: list[Any],
        prompt: str,
        is_query: bool,
        settings: Mapping[str, Any] | None = None,
    ) -> Float32:
        encode = self.model.encode_query if is_query else self.model.encode_document
        more = dict(settings or {})
        unit = {"text": "texts", "video": "clips"}.get(next(iter(more), ""), FRAMES)

        def run(part: list[Any]) -> Any:
            return encode(
                part,
                prompt=prompt,
                batch_size=len(part),
                show_progress_bar=False,
                convert_to_tensor=True,
                processing_kwargs=more,
            )

        try:
            parts = list(in_parts(run, given, unit, "the model"))
        except (ValueError, TypeError, LookupError) as error:
            text = " ".join(str(error).split())
            raise ModelError(
                f"sentence-transformers cannot encode this input: {text[:300]}; see the model card "
                "for what the model takes"
            ) from error
        return np.concatenate([part.float().cpu().numpy() for part in parts])


def _without_far_ends(frames: UInt8) -> UInt8:
    """The centre of very long frames, which some processors refuse."""
    height, width = frames.shape[1:3]
    rows, columns = min(height, _LONGEST_FRAME * width), min(width, _LONGEST_FRAME * height)
    top, x = (height - rows) // 2, (width - columns) // 2
    return frames[:, top : top + rows, x : x + columns]


def load(
    target: str, *, device: str | None, precision: str, revision: str | None = None
) -> StModel:
    """Load a model; see ``StEncoder.from_spec``."""
    name = f"st:{target}"
    if precision == INT8:
        raise ModelError(f"{name} does not run in int8; use bf16 or float32")
    folder = _folder(target, revision)
    check_folder(folder, name)
    with _clear_errors(name):
        from sentence_transformers import SentenceTransformer

        chosen_device = pick_device(device)
        warn_if_slow(precision, chosen_device, name)
        allow_tf32(chosen_device, precision)
        model = SentenceTransformer(
            str(folder),
            device=str(chosen_device),
            **data_only(),
            local_files_only=True,
            model_kwargs={"dtype": pick_dtype(precision), "use_safetensors": True},
        )
        _check_weights(model, folder, name)
    model.eval().requires_grad_(False)
    sees = next(
        (modality for modality in ("video", "image") if modality in model.modalities), "text"
    )
    licence = f"that of the weights {target!r}: see their model card"
    return StModel(model, sees, _prompts(model, name), licence, _logit_scale(folder))


def _logit_scale(folder: Path) -> float | None:
    """Logit scale of a CLIP as its file holds it, before any cast; else None."""
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name.endswith("logit_scale"):
                    return float(file.get_tensor(name).float().exp())
    return None


def _check_weights(model: Any, folder: Path, name: str) -> None:
    """Refuse weights that the transformer lacks or leaves over; some files have no pooler.

    The library drops them in silence, so they are compared once more, without any numbers.
    """
    from transformers import PreTrainedModel

    from vlar.encoders.clip.hf_loader import check_complete

    inner = getattr(model[0], "auto_model", None) or getattr(model[0], "model", None)
    if not isinstance(inner, PreTrainedModel):
        return
    modules = folder / MODULES
    path = trust.read_settings(modules, name)[0].get("path", "") if modules.exists() else ""
    _, told = cast(Any, type(inner)).from_pretrained(
        folder / path, output_loading_info=True, device_map="meta", local_files_only=True
    )
    missing = [key for key in told["missing_keys"] if "pooler." not in key]
    check_complete({**told, "missing_keys": missing}, inner.config, name)


def _prompts(model: Any, name: str) -> dict[str, str]:
    """The model's instructions: its own names for queries and documents, else its default."""
    prompts = {key: str(text or "") for key, text in (model.prompts or {}).items()}
    if any(len(text) > _LONGEST_PROMPT for text in prompts.values()):
        raise ModelError(
            f"{name}: a prompt of {_SETTINGS} has over {_LONGEST_PROMPT:,} characters; shorten it"
        )
    usual = prompts.get(model.default_prompt_name or "", "")
    clip = next(
        (prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), usual
    )
    return {"query": prompts.get("query") or usual, "label": usual, "clip": clip}


def _folder(target: str, revision: str | None) -> Path:
    """The folder of a model; one of the hub is fetched, without code and pickles."""
    path = Path(target).expanduser()
    if path.is_dir():
        return path
    if target.count("/") > 1 or target.startswith((".", "~", "/")):
        raise ModelError(
            f"st:{target} is neither a folder nor ORG/NAME; for example st:all-MiniLM-L6-v2"
        )
    return ready(f"st:{target}", source(target, revision))[0]


def source(target: str, revision: str | None) -> Hub:
    """Repository of ``ORG/NAME``, or of a name of the library's own."""
    return Hub(
        target if "/" in target else f"{_OWN}/{target}",
        revision,
        weights=(("*.safetensors",),),
        looked_for=(MODULES, CONFIG),
        depth=1,
    )


@contextmanager
def _clear_errors(name: str) -> Generator[None]:
    """Turn an error of loading into one line with the remedy."""
    try:
        with quiet_libraries():
            yield
    except (*LOADING_ERRORS, AssertionError) as error:
        raise _explained(name, error) from error


def _explained(name: str, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if (missing := missing_library(name, error)) is not None:
        return missing
    if trust.asks_for_code(text):
        return trust.refusal(name, "it names a class of its own")
    return ModelError(f"{name} cannot be loaded: {text[:300]}")
