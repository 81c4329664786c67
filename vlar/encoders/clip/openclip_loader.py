"""Strict loading of open_clip models: every weight comes from the source, or it fails."""

from __future__ import annotations

import copy
import difflib
import math
import pickle
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from vlar.encoders.clip import trust
from vlar.encoders.clip.block_view import BlockView, TextView, VisionView
from vlar.encoders.clip.options import place_model
from vlar.encoders.clip.pixels import Pixels
from vlar.encoders.clip.precision import int8_towers
from vlar.encoders.clip.towers import ClipTokens, OpenClipHfTokens, Tokens, Towers, without_root_log
from vlar.encoders.download import ready
from vlar.encoders.hub_source import Hub, tokeniser
from vlar.encoders.spec import INT8, missing_library
from vlar.errors import ModelError, UnknownNameError
from vlar.files.checkpoints import data_only
from vlar.files.reading import MB, parse_json, read_file


def vision_view(model: nn.Module) -> VisionView:
    """The view of ``model.visual``.

    Raises:
        ModelError: the tower is not a plain ViT with a class token; the message names the kind of
            tower.
    """
    tower: Any = model.visual
    if not isinstance(tower, VisionTransformer):
        raise _no_view(f"its image tower is a {type(tower).__name__}, not open_clip's own ViT")
    if tower.pool_type != "tok" or tower.attn_pool is not None:
        raise _no_view("its image tower has no class token that is read out")
    return VisionView(
        blocks=_blocks(tower.transformer.resblocks),
        stem=_stem(tower),
        ln_pre=tower.ln_pre,
        ln_post=tower.ln_post,
        project=_project(tower, "proj"),
        width=tower.transformer.width,
        n_patches=tower.grid_size[0] * tower.grid_size[1],
    )


def patch_side(model: nn.Module) -> int:
    """Pixels of a side of a patch of a plain ViT with a class token; 0 for other towers."""
    tower: Any = model.visual
    if not isinstance(tower, VisionTransformer) or tower.pool_type != "tok":
        return 0
    side: Any = tower.patch_size
    return int(side[0])


def at_size(towers: Towers, height: int, width: int) -> Towers:
    """A copy of a plain ViT for frames of another size, whose positions are interpolated.

    Args:
        towers: Towers of open_clip.
        height: Pixels, a multiple of the patch.
        width: Pixels, likewise.
    """
    model = copy.deepcopy(towers.model)
    tower: Any = model.visual
    grid = height // tower.patch_size[0], width // tower.patch_size[1]
    first, remaining = tower.positional_embedding.detach().split((1, math.prod(tower.grid_size)))
    maps = remaining.T.unflatten(1, tuple(tower.grid_size))[None].float()
    maps = nn.functional.interpolate(maps, grid, mode="bicubic", antialias=True)
    table = torch.cat([first, maps[0].flatten(1).T.to(first.dtype)])
    tower.positional_embedding = nn.Parameter(table, requires_grad=False)
    tower.grid_size, tower.image_size = grid, (height, width)
    pixels = replace(towers.pixels, height=height, width=width, shorter=0)
    return replace(towers.rebuild(model), pixels=pixels)


def text_view(model: nn.Module) -> TextView:
    """The view of the text tower of a ``CLIP`` or ``CustomTextCLIP``.

    Raises:
        ModelError: the tower is not causal or not read at its end-of-text token.
    """
    tower: Any = getattr(model, "text", model)
    pool = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", None)
    if not hasattr(tower, "transformer") or not hasattr(tower, "token_embedding"):
        raise _no_view(f"its text tower is a {type(tower).__name__}")
    if tower.attn_mask is None or pool != "argmax" or getattr(tower, "cls_emb", None) is not None:
        raise _no_view("its text tower is not a causal one read at the end-of-text token")
    return TextView(
        blocks=_blocks(tower.transformer.resblocks),
        token_embedding=tower.token_embedding,
        positions=tower.positional_embedding,
        ln_final=tower.ln_final,
        project=_project(tower, "text_projection"),
        end=lambda ids: ids.argmax(dim=-1),
        width=tower.transformer.width,
    )


def _blocks(modules: Any) -> tuple[BlockView, ...]:
    return tuple(_block(module) for module in modules)


def _block(module: Any) -> BlockView:
    attention = module.attn
    plain = isinstance(attention, nn.MultiheadAttention) and all(
        isinstance(s, nn.Identity) for s in (module.ls_1, module.ls_2)
    )
    if not plain:
        raise _no_view("its blocks are not CLIP's plain ones (layer scale or normed queries)")
    activation = "quick_gelu" if isinstance(module.mlp.gelu, QuickGELU) else "gelu"
    if getattr(module.mlp.gelu, "approximate", "none") == "tanh":
        activation = "gelu_pytorch_tanh"
    return BlockView(
        ln_1=module.ln_1,
        ln_2=module.ln_2,
        heads=attention.num_heads,
        in_proj=_packed(attention),
        out_proj=attention.out_proj,
        fc1=module.mlp.c_fc,
        fc2=module.mlp.c_proj,
        activation=activation,
    )


def _packed(attention: Any) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
    width: int = attention.embed_dim

    def rows(first: int, last: int) -> tuple[Tensor, Tensor | None]:
        part = slice(first * width, last * width)
        bias = attention.in_proj_bias
        return attention.in_proj_weight[part], None if bias is None else bias[part]

    return rows


def _project(tower: Any, name: str) -> Callable[[Tensor], Tensor]:
    def project(tokens: Tensor) -> Tensor:
        weight = getattr(tower, name)
        if weight is None:
            return tokens
        return weight(tokens) if isinstance(weight, nn.Module) else tokens @ weight

    return project


def _stem(tower: VisionTransformer) -> Callable[[Tensor], Tensor]:
    def stem(images: Tensor) -> Tensor:
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return torch.cat([first, patches], dim=1) + tower.positional_embedding.to(patches.dtype)

    return stem


def _no_view(why: str) -> ModelError:
    return ModelError(
        f"this model shows no transformer blocks to an adapter: {why}; "
        "use a CLIP with a plain ViT, for example openclip:ViT-B-16-quickgelu/openai"
    )


Shape = tuple[int, ...]


def infer_architectures(path: Path) -> list[str]:
    """Names of the architectures with a plain ViT whose shapes are those of the file, sorted."""
    shapes = read_shapes(path)
    names: list[str] = []
    for name in open_clip.list_models():
        config: dict[str, Any] = open_clip.get_model_config(name) or {}
        if _expected(config) == {key: shapes.get(key) for key in _expected(config)}:
            names.append(name)
    return sorted(names)


def read_shapes(path: Path) -> dict[str, Shape]:
    """Shapes by name, ``module.`` and ``state_dict`` wrappers taken off; tensors are not read."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    else:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if isinstance(stored, dict) and "state_dict" in stored:
            stored = stored["state_dict"]
        shapes = {k: tuple(v.shape) for k, v in stored.items() if isinstance(v, Tensor)}
    return {key.removeprefix("module."): shape for key, shape in shapes.items()}


def _expected(config: dict[str, Any]) -> dict[str, Shape | None]:
    """Shapes that distinguish plain CLIPs; a tensor that must not exist maps to None."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = "timm_model_name" not in vision and isinstance(vision.get("layers"), int)
    if not plain or "hf_model_name" in text or "multimodal_cfg" in config:
        return {"": ()}  # no file has it
    width, patch, size = vision["width"], vision["patch_size"], vision["image_size"]
    sides = (size, size) if isinstance(size, int) else size
    n_tokens = (sides[0] // patch) * (sides[1] // patch) + 1
    prefix = "text." if config.get("custom_text") else ""
    last, more = vision["layers"] - 1, vision["layers"]
    text_width = text.get("width", 512)
    text_last = text.get("layers", 12) - 1
    return {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.positional_embedding": (n_tokens, width),
        "visual.proj": (width, config["embed_dim"]),
        f"visual.transformer.resblocks.{last}.ln_1.weight": (width,),
        f"visual.transformer.resblocks.{more}.ln_1.weight": None,
        f"{prefix}positional_embedding": (text.get("context_length", 77), text_width),
        f"{prefix}token_embedding.weight": (text.get("vocab_size", 49408), text_width),
        f"{prefix}transformer.resblocks.{text_last}.ln_1.weight": (text_width,),
        f"{prefix}transformer.resblocks.{text_last + 1}.ln_1.weight": None,
    }


_CONFIG = "open_clip_config.json"
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_APPLE = "Apple's own terms, not open: see the model card"
#: By the start of a tag; the first that fits counts.
_LICENCES = (
    ("openai", "MIT"),
    ("laion", "MIT"),
    ("datacompdr", _APPLE),
    ("datacomp", "MIT"),
    ("commonpool", "MIT"),
    ("dfn", _APPLE),
    ("webli", "Apache-2.0"),
    ("metaclip", "CC-BY-NC-4.0"),
    ("meta", "Apache-2.0"),
)
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

# What open_clip raises where weights and architecture do not go together.
_LOADING = (
    *(OSError, RuntimeError, ValueError, AssertionError, LookupError, AttributeError),
    *(TypeError, EOFError, MemoryError),
)


def load(
    target: str,
    *,
    arch: str | None = None,
    device: str | None = None,
    precision: str = "float32",
    random_init: bool = False,
    revision: str | None = None,
) -> Towers:
    """Load ``ARCH/TAG``, a weights file or a folder; see ``OpenClipEncoder.from_spec``."""
    path = Path(target).expanduser()
    if random_init:
        name = arch or target.partition("/")[0]
        ready(f"openclip:{name}", *tokeniser_sources(name))
        model, source = _random(name), name
    elif path.is_dir():
        model, source = _from_folder(path), f"local-dir:{path}"
    elif path.exists():
        trust.check_weights(path, f"openclip:{target}")
        model, source = _from_file(path, arch)
    elif path.suffix in _SUFFIXES or target.startswith(("/", "./", "~")):
        raise ModelError(f"model file or folder {target!r} does not exist; check the path")
    else:
        model, source = _from_tag(target, revision)
    exact = float(model.logit_scale.detach())
    place_model(model, device, precision, f"openclip:{target}")
    licence = "none: random weights" if random_init else _licence(target)
    config = _config(source)
    towers = as_towers(
        model,
        _tokens(source, model, config),
        licence,
        dim=int(config["embed_dim"]),
        rounding=exact - float(model.logit_scale),
    )
    return int8_towers(towers, f"openclip:{target}") if precision == INT8 else towers


def as_towers(model: Any, tokens: Tokens, licence: str, *, dim: int, rounding: float) -> Towers:
    """An open_clip model behind the common face; block views run it where there are any.

    Args:
        model: Placed, in its number type.
        tokens: Its tokeniser.
        licence: Licence of the weights.
        dim: D.
        rounding: Part of the log of the scale that the number type took.
    """
    bias = getattr(model, "logit_bias", None)
    return Towers(
        model=model,
        image=_fast(vision_view, model, model.encode_image),
        text=_fast(text_view, model, model.encode_text),
        tokens=tokens,
        pixels=_pixels(model),
        dim=dim,
        log_scale=lambda: model.logit_scale.squeeze().float() + rounding,
        vision_view=lambda: vision_view(model),
        text_view=lambda: text_view(model),
        rebuild=lambda other: as_towers(other, tokens, licence, dim=dim, rounding=rounding),
        logit_bias=None if bias is None else float(bias),
        licence=licence,
    )


def _licence(target: str) -> str:
    """The licence of the weights of a tag as their publishers state it; else where it is stated."""
    licence = _licence_of_tag(target.partition("/")[2])
    return licence or f"that of the weights {target!r}: see where they were published"


def _licence_of_tag(tag: str) -> str:
    return next((licence for start, licence in _LICENCES if tag.startswith(start)), "")


def _fast(view: Any, model: nn.Module, whole: Any) -> Any:
    """Features by the block view, which is faster; by the model itself where it shows none."""
    try:
        return view(model).features
    except ModelError:
        return whole


def _random(arch: str) -> Any:
    _check_arch(arch)
    with torch.random.fork_rng(devices=[]), without_root_log(), _clear_errors(f"openclip:{arch}"):
        torch.manual_seed(0)
        return open_clip.create_model(
            arch, pretrained_text=False, force_preprocess_cfg=_usual_pixels(arch)
        )


def _from_folder(folder: Path) -> Any:
    if not (folder / _CONFIG).is_file():
        raise ModelError(
            f"folder {folder} has no {_CONFIG}; save the model as open_clip's hub folders are, "
            "or name the weights file with ?arch=NAME (hf: reads transformers folders)"
        )
    weights = [p for p in sorted(folder.iterdir()) if p.suffix in _SUFFIXES]
    if not weights:
        raise ModelError(f"folder {folder} has {_CONFIG} but no weights; add model.safetensors")
    trust.check_files(folder, str(folder))
    trust.check_openclip_config(folder / _CONFIG, str(folder))
    with _clear_errors(str(folder)):
        return open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)


def _from_file(path: Path, arch: str | None) -> tuple[Any, str]:
    if arch is None and (path.parent / _CONFIG).is_file():
        source = f"local-dir:{path.parent}"
        trust.check_files(path.parent, str(path.parent))
        trust.check_openclip_config(path.parent / _CONFIG, str(path.parent))
        with _clear_errors(str(path)), without_root_log():
            model: Any = open_clip.create_model(source, load_weights=False, pretrained_text=False)
            open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
        return model, source
    if arch is None:
        with _clear_errors(str(path)):
            arch = _only(path, infer_architectures(path))
    _check_arch(arch)
    with _clear_errors(f"{path} as {arch}"):
        return open_clip.create_model(
            arch,
            pretrained=str(path),
            require_pretrained=True,
            force_preprocess_cfg=_usual_pixels(arch),
        ), arch


def _usual_pixels(arch: str) -> dict[str, Any] | None:
    """Mean, std and fit that the released weights of an architecture share."""
    tags = open_clip.list_pretrained_tags_by_model(arch)
    return open_clip.get_pretrained_cfg(arch, tags[0]) if tags else None


def _only(path: Path, found: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelError(
            f"no architecture of open_clip has the shapes of {path}; name it with ?arch=NAME, or "
            f"put its {_CONFIG} next to the file"
        )
    raise ModelError(
        f"{path} fits {', '.join(found)}, and the wrong one would give wrong numbers silently; "
        f"say which, for example openclip:{path}?arch={found[-1]} "
        "(OpenAI's weights want quickgelu)"
    )


def _tag(target: str) -> tuple[str, str, dict[str, Any]]:
    """Architecture and tag of ``ARCH/TAG``, and what open_clip states of the tag."""
    arch, _, tag = target.partition("/")
    _check_arch(arch)
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if not tag:
        raise ModelError(
            f"openclip:{arch} names no weights; add a tag: {', '.join(tags) or 'it has none'} "
            f"(for example openclip:{arch}/{tags[0] if tags else 'TAG'}), or ?random_init=true"
        )
    if tag not in tags:
        near = difflib.get_close_matches(tag, tags, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UnknownNameError(
            f"{arch} has no weights called {tag!r}{hint} Known: {', '.join(tags) or 'none'}."
        )
    return arch, tag, open_clip.get_pretrained_cfg(arch, tag)


def tag_source(target: str, revision: str | None = None) -> Hub:
    """Repository of the weights of ``ARCH/TAG``.

    Raises:
        UnknownNameError: open_clip has no such architecture or tag.
        ModelError: it names no weights, or weights that are not on the hub.
    """
    arch, tag, settings = _tag(target)
    owner, _, name = (settings.get("hf_hub") or "").partition("/")
    name, _, file = name.partition("/")
    if not name:
        raise ModelError(
            f"the weights of openclip:{arch}/{tag} are not on the hub; fetch {settings.get('url')} "
            f"yourself and use openclip:FILE?arch={arch}"
        )
    files = (file,) if file else _HUB_FILES
    kinds = tuple((file,) for file in files)
    return Hub(f"{owner}/{name}", revision, kinds, looked_for=files, licence=_licence_of_tag(tag))


def tokeniser_sources(arch: str) -> list[Hub]:
    """Repositories of the tokeniser and of the text tower that an architecture names."""
    _check_arch(arch)
    text = _config(arch)["text_cfg"]
    tower, tokens = text.get("hf_model_name"), text.get("hf_tokenizer_name")
    sources = [Hub(tower, weights=())] if tower else []
    return [*sources, *([tokeniser(tokens)] if tokens else [])]


def _from_tag(target: str, revision: str | None) -> tuple[Any, str]:
    arch, _, settings = _tag(target)
    source, what = tag_source(target, revision), f"openclip:{target}"
    folder = ready(what, source, *tokeniser_sources(arch))[0]
    file = next(folder / name for name in source.looked_for if (folder / name).is_file())
    with _clear_errors(what):
        return open_clip.create_model(
            arch,
            pretrained=str(file),
            require_pretrained=True,
            force_preprocess_cfg=settings,
            quick_gelu=_quick_gelu(arch, settings),
        ), arch


def _quick_gelu(arch: str, tag: dict[str, Any]) -> bool:
    """The activation that a tag states; the suffix of an architecture is only a guess at it."""
    config = open_clip.get_model_config(arch) or {}
    fixed = bool(config.get("quick_gelu")) and not arch.endswith("-quickgelu")
    return fixed or bool(tag.get("quick_gelu"))


def _check_arch(arch: str) -> None:
    names = open_clip.list_models()
    if arch not in names:
        near = difflib.get_close_matches(arch, names, n=5, cutoff=0.4)
        raise UnknownNameError(
            f"open_clip has no architecture {arch!r}; near: {', '.join(near) or 'none'} "
            f"({len(names)} in all: open_clip.list_models())"
        )


def _config(source: str) -> dict[str, Any]:
    """The configuration of an architecture, or of a folder ``local-dir:FOLDER``."""
    if source.startswith("local-dir:"):
        return parse_json(read_file(Path(source.partition(":")[2]) / _CONFIG, MB))["model_cfg"]
    return open_clip.get_model_config(source) or {}


def _tokens(source: str, model: Any, config: dict[str, Any]) -> Tokens:
    length, text = int(getattr(model, "context_length", 77)), config["text_cfg"]
    name = text.get("hf_tokenizer_name")
    with _clear_errors(f"the tokeniser of openclip:{source}"):
        if not name:
            return ClipTokens(open_clip.get_tokenizer(source, context_length=length), length)
        kind, _, folder = source.partition(":")
        if kind != "local-dir":
            folder = str(ready(f"openclip:{source}", tokeniser(name))[0])
        options: dict[str, Any] = {**text.get("tokenizer_kwargs", {}), **data_only()}
        mode = text.get("tokenizer_mode")
        tokens = HFTokenizer(folder, context_length=length, tokenizer_mode=mode, **options)
        return OpenClipHfTokens(tokens, length)


def _pixels(model: Any) -> Pixels:
    settings = open_clip.get_model_preprocess_cfg(model)
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = settings.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ModelError(f"the model wants frames resized by {mode!r}; vlar has crop and squash")
    mean, std = (tuple(float(v) for v in settings[name]) for name in ("mean", "std"))
    interpolation = settings.get("interpolation", "bicubic")
    if interpolation == "random":  # drawn for each frame in training; evaluation uses bicubic
        interpolation = "bicubic"
    fit = "crop" if mode == "shortest" else "squash"
    return Pixels(height, width, mean, std, fit, interpolation)  # type: ignore[arg-type]


@contextmanager
def _clear_errors(what: str) -> Generator[None]:
    """Turn an error of loading into one line with the remedy."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{what} holds more than tensors and was not loaded (nothing in it was run); "
            "save its state_dict as safetensors"
        ) from error
    except _LOADING as error:
        raise _explained(what, error) from error


def _explained(what: str, error: Exception) -> ModelError:
    text = " ".join(str(error).split())
    if (missing := missing_library(what, error)) is not None:
        return missing
    if trust.asks_for_code(text):
        return trust.refusal(what, "it names a class of its own in auto_map")
    if "state_dict" in text or isinstance(error, AssertionError):
        return ModelError(f"the weights of {what} do not fit the architecture: {text[:300]}")
    if "TorchScript" in text or "torch.jit" in text:
        return ModelError(f"{what} is a TorchScript archive; save its state_dict as safetensors")
    return ModelError(f"{what} cannot be loaded: {text[:300]}")
