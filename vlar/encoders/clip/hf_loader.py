"""Loads transformers models strictly: every weight from the source, or an error that says why."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as library_logging

from vlar.encoders.clip import block_view_hf as view_hf
from vlar.encoders.clip import hub, trust
from vlar.encoders.clip.int8 import int8_towers
from vlar.encoders.clip.options import pick_device, pick_dtype, warn_if_slow
from vlar.encoders.clip.pixels import Pixels
from vlar.encoders.clip.tokens import HfTokens
from vlar.encoders.clip.towers import Towers
from vlar.encoders.missing import missing_library
from vlar.encoders.other_kinds import other_kind
from vlar.encoders.spec import INT8
from vlar.errors import ModelError, UnknownNameError

_FAMILIES = ("clip", "siglip", "siglip2", "xclip")
_WELL_KNOWN = (
    "openai/clip-vit-base-patch32", "openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14",
    "google/siglip-base-patch16-224", "google/siglip2-base-patch16-224",
    "google/siglip2-base-patch16-naflex", "google/siglip2-so400m-patch14-384",
    "microsoft/xclip-base-patch32", "microsoft/xclip-base-patch16",
    "microsoft/xclip-base-patch16-zero-shot", "microsoft/xclip-large-patch14",
)  # fmt: skip


def load(
    target: str,
    *,
    device: str | None = None,
    precision: str = "float32",
    random_init: bool = False,
    revision: str | None = None,
) -> tuple[str, Towers, int]:
    """Family, towers and default T of ``ORG/NAME`` or a folder; see ``HfEncoder.from_spec``."""
    source, local = _source(target, revision)
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    if revision is not None:
        options["revision"] = revision
    if Path(source).is_dir():
        trust.check_files(Path(source), f"hf:{target}")
        trust.check_hf_config(Path(source) / "config.json", f"hf:{target}")
    with _clear_errors(target):
        config = AutoConfig.from_pretrained(source, **options)
        family = config.model_type
        if family not in _FAMILIES:
            classes = list(config.architectures or ())
            if (kind := other_kind(classes)) is not None:
                raise ModelError(
                    f"hf:{target} is {kind} ({classes[0]}): it gives no vectors for "
                    "clips and texts; choose an encoder (vlar models)"
                )
            raise ModelError(
                f"hf:{target} is of the {family!r} family; vlar reads {', '.join(_FAMILIES)} "
                f"(for example hf:{_WELL_KNOWN[1]})"
            )
        model = _random(config) if random_init else _weights(source, target, options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        processor = AutoImageProcessor.from_pretrained(source, **options)
    model = model.eval().requires_grad_(False)
    place = pick_device(device)
    model.to(device=place, dtype=pick_dtype(precision))
    warn_if_slow(precision, place, f"hf:{target}")
    lower = family == "siglip2" or "gemma" in type(tokenizer).__name__.lower()
    length = config.text_config.max_position_embeddings
    pixels = _pixels(processor.to_dict(), config, target)
    licence = f"that of the weights {target!r}: see their model card"
    licence = "none: random weights" if random_init else licence
    towers = as_towers(model, HfTokens(tokenizer, length, lower=lower), pixels, licence)
    if precision == INT8:
        if family in ("siglip2", "xclip"):  # sizes that change, and a tower of its own
            raise ModelError(f"hf:{target} ({family}) does not run in int8; use bf16 or float32")
        towers = int8_towers(towers, f"hf:{target}")
    return family, towers, int(getattr(config.vision_config, "num_frames", 8))


def as_towers(model: Any, tokens: HfTokens, pixels: Pixels, licence: str) -> Towers:
    """A transformers model behind the common face; a CLIP is run by its block views."""
    family = model.config.model_type
    image, text = _image(model, family), _text(model)
    if family == "clip":
        image, text = view_hf.vision_view(model).features, view_hf.text_view(model).features
    bias = getattr(model, "logit_bias", None)
    dim = getattr(model.config, "projection_dim", None) or model.config.vision_config.hidden_size
    return Towers(
        model=model,
        image=image,
        text=text,
        tokens=tokens,
        pixels=pixels,
        dim=dim if family in ("clip", "xclip") else model.config.vision_config.hidden_size,
        log_scale=lambda: model.logit_scale.squeeze(),
        vision_view=lambda: view_hf.vision_view(model),
        text_view=lambda: view_hf.text_view(model),
        rebuild=lambda other: as_towers(other, tokens, pixels, licence),
        logit_bias=None if bias is None else float(bias),
        licence=licence,
    )


def _image(model: Any, family: str) -> Callable[[Tensor], Tensor]:
    if family == "xclip":
        return lambda pixels: model.visual_projection(
            model.vision_model(pixel_values=pixels).pooler_output
        )
    if family == "siglip2":
        return lambda pixels: _naflex(model, pixels)
    return lambda pixels: _tensor(model.get_image_features(pixel_values=pixels))


def _naflex(model: Any, pixels: Tensor) -> Tensor:
    """Every frame has the same size, so nothing is padded and no mask is needed."""
    patch = model.config.vision_config.patch_size
    rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
    patches = pixels.unflatten(-1, (columns, patch)).unflatten(2, (rows, patch))
    patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), 2)
    mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
    return _tensor(
        model.get_image_features(
            pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes
        )
    )


def _text(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda ids: _tensor(model.get_text_features(input_ids=ids))


def _tensor(output: Any) -> Tensor:
    # transformers 5 returns the whole output of the tower, 4 only its projected vector.
    return output if isinstance(output, Tensor) else output.pooler_output


def _source(target: str, revision: str | None = None) -> tuple[str, bool]:
    """What to load from, and whether only local files may be touched."""
    path = Path(target).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"folder {path} has no config.json; save the model, its tokeniser and its image "
                "processor with save_pretrained (openclip: reads open_clip folders)"
            )
        return str(path), True
    if target.count("/") != 1 or target.startswith((".", "~", "/")):
        raise ModelError(
            f"hf:{target} is neither a folder nor ORG/NAME; for example hf:{_WELL_KNOWN[1]}"
        )
    if hub.cached(target, ("config.json",), revision) is not None:
        return target, True
    hub.require_network(f"hf:{target}", target)
    return target, False


def _weights(source: str, target: str, options: dict[str, Any]) -> nn.Module:
    model, told = AutoModel.from_pretrained(source, output_loading_info=True, **options)
    wrong = [*told["missing_keys"], *(str(key) for key in told["mismatched_keys"])]
    if wrong:
        raise ModelError(
            f"the weights of hf:{target} do not fit its config.json: {len(wrong)} are missing or "
            f"of another shape, first {sorted(wrong)[0]}; a random start was not asked for"
        )
    return model


def _random(config: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModel.from_config(config, trust_remote_code=False)


def _pixels(processor: dict[str, Any], config: Any, target: str) -> Pixels:
    mean, std = tuple(processor["image_mean"]), tuple(processor["image_std"])
    resample = int(processor.get("resample", 3))
    interpolation = {2: "bilinear", 3: "bicubic"}.get(resample)
    if interpolation is None:
        raise ModelError(f"hf:{target} resizes by PIL's method {resample}; vlar knows 2 and 3")
    if config.model_type == "siglip2":
        patch = config.vision_config.patch_size
        most = int(processor.get("max_num_patches", config.vision_config.num_patches))
        side = int(most**0.5) * patch
        return Pixels(
            side, side, mean, std, "patches", interpolation, patch=patch, max_patches=most
        )  # fmt: skip
    size, cut = processor.get("size") or {}, processor.get("crop_size") or {}
    if processor.get("do_center_crop", False) and cut:
        shorter = int(size.get("shortest_edge") or cut["height"])
        return Pixels(
            int(cut["height"]), int(cut["width"]), mean, std, "crop", interpolation, shorter
        )
    side = config.vision_config.image_size
    height, width = int(size.get("height", side)), int(size.get("width", side))
    return Pixels(height, width, mean, std, "squash", interpolation)


@contextmanager
def _clear_errors(target: str) -> Generator[None]:
    """Turn what loading raises into one line that says what to do; keep progress bars away."""
    shown = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        yield
    except (
        OSError, ValueError, RuntimeError, LookupError, ImportError, TypeError, AttributeError,
        EOFError, MemoryError,
    ) as error:  # fmt: skip
        raise _explained(target, error) from error
    finally:
        if shown:
            library_logging.enable_progress_bar()


def _explained(target: str, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if (missing := missing_library(f"hf:{target}", error)) is not None:
        return missing
    if trust.asks_for_code(text):
        return trust.refusal(f"hf:{target}", "auto_map names a class of its own")
    if "is not a valid model identifier" in text or "Repository Not Found" in text:
        near = difflib.get_close_matches(target, _WELL_KNOWN, n=3, cutoff=0.3)
        return UnknownNameError(
            f"the hub has no model {target!r}; near: {', '.join(near) or 'nothing known'} "
            "(a private one needs 'hf auth login')"
        )
    if "preprocessor" in text or "image processor" in text.lower():
        return ModelError(
            f"hf:{target} has no preprocessor_config.json, which says how frames are scaled; save "
            "its image processor next to the weights"
        )
    if "offline" in text.lower() or "connect" in text.lower() or "cached files" in text:
        return hub.offline(f"hf:{target}", target, text[:160])
    return ModelError(f"hf:{target} cannot be loaded: {text[:300]}")
