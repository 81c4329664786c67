"""Keeps a folder of weights from running code: a folder is data, whatever its source.

transformers runs Python files of a folder when ``trust_remote_code`` is true, and asks on stdin
when it is not given. open_clip passes on what the folder's configuration sets. Loaders therefore
always pass the options of `data_only`, and a configuration may set known options only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from vlar.encoders.download import ready
from vlar.encoders.hub_source import Hub
from vlar.errors import ModelError
from vlar.files.arrays import read_header
from vlar.files.checkpoints import MOST, check_archive
from vlar.files.opening import special_kind
from vlar.files.reading import MB, check_file, parse_json, read_file

#: Options of a tokeniser that a folder may set; none of them names a file or a class.
_TOKENIZER = {
    "add_bos_token": bool,
    "add_eos_token": bool,
    "add_prefix_space": bool,
    "additional_special_tokens": list,
    "clean": str,
    "do_lower_case": bool,
    "language": str,
    "legacy": bool,
    "padding_side": str,
    "strip_sep_token": bool,
    "truncation_side": str,
    "use_fast": bool,
}
_MODEL = {
    *("custom_text", "embed_dim", "init_logit_bias", "init_logit_scale", "multimodal_cfg"),
    *("nonscalar_logit_scale", "output_dict", "quick_gelu", "text_cfg", "vision_cfg"),
}
#: transformers fetches a kernel from the hub and runs it where one of these names a repository.
_HF_SETTINGS = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
_MOST_CONFIG = 16 * MB
_KERNELS = {"attn_implementation", "_attn_implementation", "experts_implementation"}


def check_files(folder: Path, what: str) -> None:
    """Refuse a folder of weights with files that cannot be read safely.

    Named pipes and devices would be waited for; weights are held to their headers and archives.

    Raises:
        ModelError: the message names the first such file.
    """
    for file in sorted(folder.iterdir()):
        try:
            kind = special_kind(file)
        except OSError:  # a link to nothing
            continue
        if kind is None:
            check_weights(file, what)
        elif kind != "a folder":
            raise ModelError(f"{what}: {file} is {kind}, not a file; remove it")


def check_weights(file: Path, what: str) -> None:
    """Refuse a file of weights that states more than it holds; other files pass.

    Raises:
        ModelError: it is not a regular file, its header is malformed, or its archive is compressed.
    """
    try:
        if file.suffix == ".safetensors":
            read_header(file, MOST)
        elif file.suffix in (".pt", ".pth", ".bin"):
            check_archive(file)
        else:
            check_file(file, MOST)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelError(
            f"{what}: {file} cannot be read ({why}); use weights from a source you trust"
        ) from error


def refusal(what: str, why: str) -> ModelError:
    """The error for weights that want to run code."""
    return ModelError(
        f"{what} wants to run code that comes with the weights ({why}); vlar never does: use "
        "weights with a standard configuration and tokeniser, or convert them where you trust them"
    )


def asks_for_code(text: str) -> bool:
    """Return whether the message of a library is its refusal to run the code of a folder."""
    return "trust_remote_code" in text or "custom code" in text


def check_openclip_config(file: Path, what: str) -> None:
    """Refuse an ``open_clip_config.json`` that sets more than an architecture and a tokeniser.

    Raises:
        ModelError: an option is not known, or leads to code.
    """
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    model = _mapping(_read(file, what), "model_cfg", what)
    tower = {"vision_cfg": {f.name for f in fields(CLIPVisionCfg)}}
    text = {f.name for f in fields(CLIPTextCfg)}
    tower |= {"text_cfg": text, "multimodal_cfg": text | {"dim_head", "n_queries"}}
    tower["multimodal_cfg"].add("attn_pooler_heads")
    _known(model, _MODEL, what, "model_cfg")
    for name, keys in tower.items():
        part = _mapping(model, name, what)
        _known(part, keys, what, name)
        _check_tokenizer(part.get("tokenizer_kwargs") or {}, what)
        _check_named_models(part, what)


def check_hf_config(file: Path, what: str) -> None:
    """Refuse a folder whose settings name a kernel of the hub, or a file outside the folder.

    Args:
        file: The ``config.json``; the settings of the tokeniser lie next to it.
        what: Names the model in the error.

    Raises:
        ModelError: they do; the message names the option.
    """
    for name, value in _entries(_read(file, what)):
        if name in _KERNELS and "/" in str(value):
            raise refusal(what, f"{name} {value!r} in {file.name} is a kernel of the hub")
    for other in (file.with_name(name) for name in _HF_SETTINGS):
        settings = _read(other, what) if other.exists() else {}
        for name, value in settings.items():
            if name.endswith("_file") and ("/" in str(value) or "\\" in str(value)):
                raise ModelError(
                    f"{what}: {name} of {other.name} is the path {str(value)[:80]!r}; a folder may "
                    "name only files of its own"
                )


def _check_tokenizer(options: Any, what: str) -> None:
    where = "tokenizer_kwargs of open_clip_config.json"
    if not isinstance(options, Mapping):
        raise ModelError(f"{what}: {where} must be an object, got {options!r}")
    for name, value in options.items():
        if name == "trust_remote_code":
            if value:
                raise refusal(what, f"trust_remote_code in {where}")
        elif not isinstance(value, _TOKENIZER.get(name, ())):
            names = ", ".join(sorted(_TOKENIZER))
            raise ModelError(
                f"{what}: {where} sets {name!r} to {value!r}; a folder may set only {names}"
            )


def _check_named_models(part: Mapping[str, Any], what: str) -> None:
    """Refuse towers that other libraries would look up by path or on the hub, with their code."""
    timm = str(part.get("timm_model_name") or "")
    if ":" in timm or "/" in timm:
        raise refusal(what, f"timm_model_name {timm!r} is not an architecture of timm")
    tower = part.get("hf_model_name")
    if not tower:
        return
    from transformers import PretrainedConfig

    folder = Path(str(tower))
    if not folder.is_dir():
        folder = ready(what, Hub(str(tower), weights=()))[0]
    try:
        config, _ = PretrainedConfig.get_config_dict(str(folder))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{what}: the configuration of its text tower {tower!r} cannot be read: {error}"
        ) from error
    if "auto_map" in config:
        raise refusal(what, f"its text tower {tower!r} has an auto_map")


def _known(part: Mapping[str, Any], known: set[str], what: str, name: str) -> None:
    unknown = sorted(set(part) - known)
    if unknown:
        raise ModelError(
            f"{what}: {name} of open_clip_config.json sets {unknown[0]!r}, which vlar does not "
            f"pass on; it may set {', '.join(sorted(known))}"
        )


def _mapping(config: Mapping[str, Any], name: str, what: str) -> Mapping[str, Any]:
    part = config.get(name, {})
    if not isinstance(part, Mapping):
        raise ModelError(f"{what}: {name} must be an object, got {part!r}")
    return part


def read_settings(file: Path, what: str) -> Any:
    """The JSON value of a file of settings.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return parse_json(read_file(file, _MOST_CONFIG))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelError(f"{what}: {file} cannot be read: {why}") from error


def _read(file: Path, what: str) -> dict[str, Any]:
    config = read_settings(file, what)
    if not isinstance(config, dict):
        raise ModelError(f"{what}: {file} must hold a JSON object")
    return config


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield str(name), value
            yield from _entries(value)
