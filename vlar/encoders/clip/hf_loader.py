"""Strict loading of transformers models: every weight comes from the source, or it fails."""

from __future__ import annotations

import difflib
import math
import pickle
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from vlar.encoders.clip import block_view_hf, low_rank, trust
from vlar.encoders.clip.options import place_model
from vlar.encoders.clip.pixels import Pixels, read_pixels
from vlar.encoders.clip.precision import int8_towers
from vlar.encoders.clip.towers import LOADING_ERRORS, NO_TOKEN, HfTokens, Towers, quiet_libraries
from vlar.encoders.download import ready
from vlar.encoders.hub_source import of_transformers
from vlar.encoders.spec import INT8, missing_library, other_kind
from vlar.errors import ModelError, UnknownNameError
from vlar.files.checkpoints import data_only

FRAMES, CLIPS, ORDERED = "frames", "clips", "ordered"
_USUAL_SCALE = 100.0  # where a model states none: CLIP's, to which most trainings are clamped

#: Of a model: pixels (N, 3, H, W), or (N, T, 3, H, W) of clips, to features (N, D), not normalised.
ImageTower = Callable[[Any], Callable[[Tensor], Tensor]]
#: Of a model: ids and mask (C, L) to features (C, D), not normalised; a mask of None masks nothing.
TextTower = Callable[[Any], Callable[[Tensor, Tensor | None], Tensor]]


def _pooled(output: Any) -> Tensor:
    # transformers 5 returns the whole output of the tower, 4 only its projected vector.
    return output if isinstance(output, Tensor) else output.pooler_output


def _images(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: _pooled(model.get_image_features(pixel_values=pixels))


def _texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    return lambda ids, mask: _pooled(model.get_text_features(input_ids=ids, attention_mask=mask))


def _stated_scale(model: Any) -> Tensor:
    return model.logit_scale.squeeze()


@dataclass(frozen=True)
class Family:
    """Reading rules for the models of one ``model_type``.

    Attributes:
        dim: Place of D in the configuration, as a path of names.
        sees: ``frames`` one by one, ``clips`` as a whole, or frames that exchange messages
            (``ordered``, X-CLIP).
        masked: Whether the text tower takes an attention mask. One that was trained without
            (SigLIP) gives other vectors with it.
        image: The image tower, or the video tower.
        text: The text tower.
        log_scale: Gives the log of the factor from cosine to logit.
        pixels: Name of the part of the configuration that states the size of pictures.
        frames: Place of the fixed number of frames in the configuration; empty for any T.
        lower: Whether texts were lower-cased in training.
        int8: Whether the image tower runs in int8 (``vlar.encoders.clip.precision``).
        attention: Implementation that the library must use; None for its own choice.
        loader: Class of transformers that loads it.
    """

    dim: str = "projection_dim"
    sees: str = FRAMES
    masked: bool = True
    image: ImageTower = _images
    text: TextTower = _texts
    log_scale: Callable[[Any], Tensor] = _stated_scale
    pixels: str = "vision_config"
    frames: str = ""
    lower: bool = False
    int8: bool = False
    attention: str | None = None
    loader: str = "AutoModel"


def stated(config: Any, path: str) -> Any:
    """The value at a path of names in a configuration; None where there is none."""
    for name in path.split("."):
        config = getattr(config, name, None)
    return config


def _clip_images(model: Any) -> Callable[[Tensor], Tensor]:
    return block_view_hf.vision_view(model).features


def _clip_texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    features = block_view_hf.text_view(model).features
    return lambda ids, mask: features(ids)


def _xclip_images(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: model.visual_projection(
        model.vision_model(pixel_values=pixels).pooler_output
    )


def _naflex_images(model: Any) -> Callable[[Tensor], Tensor]:
    """Every frame has the same size, so nothing is padded and no mask is needed."""
    patch = model.config.vision_config.patch_size

    def features(pixels: Tensor) -> Tensor:
        rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        patches = pixels.unflatten(-1, (columns, patch)).unflatten(2, (rows, patch))
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), 2)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
        return _pooled(
            model.get_image_features(
                pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes
            )
        )

    return features


def _first_token(tower: Callable[[Any], Callable[..., Tensor]]) -> Callable[[Any], Any]:
    """FLAVA: the library projects all tokens, and the space is that of the first."""

    def made(model: Any) -> Callable[..., Tensor]:
        features = tower(model)
        return lambda *given: features(*given)[:, 0]

    return made


def _videoprism_clips(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: _pooled(model.get_video_features(pixel_values_videos=pixels)).flatten(
        0, 1
    )


def _pe_clips(model: Any) -> Callable[[Tensor], Tensor]:
    """Clip tower by the heads: the class has no ``get_video_features`` in transformers 5.24."""
    video = getattr(model, "video_model", model)
    return lambda pixels: video.video_head(_pooled(video.video_encoder(pixel_values_videos=pixels)))


def _pe_texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    video = getattr(model, "video_model", model)

    def features(ids: Tensor, mask: Tensor | None) -> Tensor:
        output = video.text_model(input_ids=ids, attention_mask=mask)
        return video.text_video_head(output.last_hidden_state[:, 0])

    return features


def _blip_images(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: model.vision_proj(
        model.vision_model(pixel_values=pixels).last_hidden_state[:, 0]
    )


def _blip_texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    def features(ids: Tensor, mask: Tensor | None) -> Tensor:
        output = model.text_encoder(input_ids=ids, attention_mask=mask, return_dict=True)
        return model.text_proj(output.last_hidden_state[:, 0])

    return features


def _by_temperature(model: Any) -> Tensor:
    return -model.temperature.log()


def _clamped_scale(model: Any) -> Tensor:
    return model.logit_scale.clamp(0.0, model.max_log_logit_scale)


def _usual_scale(model: Any) -> Tensor:
    """The model was trained with a factor that it does not keep, or not one of cosines."""
    return torch.tensor(math.log(_USUAL_SCALE))


_PE = Family(
    "text_config.hidden_size",
    CLIPS,
    image=_pe_clips,
    text=_pe_texts,
    log_scale=_usual_scale,
    pixels="video_config",
)
#: By ``model_type``, or by the class that a configuration names where its models differ.
FAMILIES: dict[str, Family] = {
    "clip": Family(masked=False, image=_clip_images, text=_clip_texts, int8=True),
    "siglip": Family("vision_config.hidden_size", masked=False, lower=True, int8=True),
    "siglip2": Family("vision_config.hidden_size", masked=False, image=_naflex_images, lower=True),
    "xclip": Family(
        sees=ORDERED, masked=False, image=_xclip_images, frames="vision_config.num_frames"
    ),
    "metaclip_2": Family(),
    "clipseg": Family(),
    "groupvit": Family(),
    # With the default, texts without padding lose the causal mask (transformers 5.24).
    "aimv2": Family(log_scale=_clamped_scale, attention="eager"),
    "altclip": Family(),
    "chinese_clip": Family(),
    "blip": Family(),
    "BlipForImageTextRetrieval": Family(
        "image_text_hidden_size",
        image=_blip_images,
        text=_blip_texts,
        log_scale=_usual_scale,
        loader="BlipForImageTextRetrieval",
    ),
    "vision-text-dual-encoder": Family(),
    "align": Family(log_scale=_by_temperature),
    "flava": Family(
        "hidden_size", image=_first_token(_images), text=_first_token(_texts), pixels="image_config"
    ),
    "tipsv2": Family("text_config.hidden_size", log_scale=_by_temperature),
    "videoprism": Family(
        "text_config.hidden_size",
        CLIPS,
        image=_videoprism_clips,
        log_scale=_usual_scale,
        frames="vision_config.num_frames",
    ),
    "pe_video": _PE,
    "pe_audio_video": _PE,
}


def family_of(config: Any) -> Family | None:
    """Family of a configuration's models; None where none fits."""
    for name in config.architectures or ():
        if name in FAMILIES:
            return FAMILIES[name]
    return FAMILIES.get(config.model_type)


_MOST_TOKENS = 512  # of a text, where a tower would read more; actions are short
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "altclip_text_model"}
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_LONGEST_NAME = 96  # characters of a name of the hub
_WELL_KNOWN = (
    *("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch16"),
    *("openai/clip-vit-large-patch14", "google/siglip-base-patch16-224"),
    *("google/siglip2-base-patch16-224", "google/siglip2-base-patch16-naflex"),
    *("google/siglip2-so400m-patch14-384", "microsoft/xclip-base-patch32"),
    *("microsoft/xclip-base-patch16", "microsoft/xclip-base-patch16-zero-shot"),
    "microsoft/xclip-large-patch14",
)


@dataclass(frozen=True)
class Loaded:
    """A model with two towers, frozen and placed.

    Attributes:
        family: How it is read.
        towers: Its towers.
        n_frames: T that its configuration fixes; None where any T works.
    """

    family: Family
    towers: Towers
    n_frames: int | None


@dataclass(frozen=True)
class WeightSource:
    """A configuration that was read, and where its weights are.

    Attributes:
        target: ``ORG/NAME`` or a folder, as the user wrote it.
        place: What the library loads from.
        options: What every call of the library gets.
        config: The configuration.
    """

    target: str
    place: str
    options: Mapping[str, Any]
    config: Any

    @property
    def name(self) -> str:
        """Name of the source in messages."""
        return f"hf:{self.target}"


def read_source(target: str, given: Mapping[str, str], *, random_init: bool) -> WeightSource:
    """The configuration of ``ORG/NAME`` or of a folder, checked before anything is loaded.

    Args:
        target: The model.
        given: Options of its name, of which ``revision`` counts.
        random_init: Whether the weights stay out.

    Raises:
        UnknownNameError: the hub has no such model; the message names what is near.
        ModelError: it cannot be read or fetched, or wants to run code.
    """
    folder = _folder(target, {**given, "random_init": str(random_init)})
    trust.check_files(folder, f"hf:{target}")
    trust.check_hf_config(folder / "config.json", f"hf:{target}")
    options = {"local_files_only": True, **data_only()}
    with clear_errors(target):
        config = AutoConfig.from_pretrained(str(folder), **options)
    return WeightSource(target, str(folder), options, config)


def load(
    source: WeightSource,
    *,
    device: str | None = None,
    precision: str = "float32",
    random_init: bool = False,
    lora: str | None = None,
) -> Loaded:
    """The towers of a model; see ``HfEncoder.from_spec``."""
    config, name = source.config, source.name
    family = family_of(config)
    if family is None:
        classes = list(config.architectures or ())
        if (kind := other_kind(classes)) is not None:
            raise ModelError(
                f"{name} is {kind} ({classes[0]}): it gives no vectors for clips and texts; choose "
                "an encoder (vlar models)"
            )
        raise ModelError(
            f"{name} is of the {config.model_type!r} family; vlar reads {', '.join(FAMILIES)} and "
            f"video classifiers (for example hf:{_WELL_KNOWN[1]})"
        )
    if precision == INT8 and not family.int8:
        raise ModelError(f"{name} ({config.model_type}) does not run in int8; use bf16 or float32")
    with clear_errors(source.target):
        model = weights(source, getattr(transformers, family.loader), random_init, family.attention)
        tokenizer = AutoTokenizer.from_pretrained(source.place, **source.options)
        pixels = read_pixels(processor_of(source), stated(config, family.pixels), name)
    if lora is not None:
        model = low_rank.merged(model, lora, name)
    exact = float(family.log_scale(model).detach())
    place_model(model, device, precision, name)
    rounding = exact - float(family.log_scale(model))
    lower = family.lower and _keeps_capitals(tokenizer)
    length = int(config.text_config.max_position_embeddings)
    if family.masked:
        length = _longest_text(config.text_config, tokenizer)
    tokens = HfTokens(tokenizer, length, lower=lower, masked=family.masked)
    towers = as_towers(model, family, tokens, pixels, licence(source, random_init), rounding)
    if precision == INT8:
        towers = int8_towers(towers, name)
    n_frames = stated(config, family.frames) if family.frames else None
    return Loaded(family, towers, None if n_frames is None else int(n_frames))


def as_towers(
    model: Any, family: Family, tokens: HfTokens, pixels: Pixels, licence: str, rounding: float
) -> Towers:
    """A transformers model behind the common face; for ``rounding`` see ``openclip_loader``."""
    text = family.text(model)
    bias = getattr(model, "logit_bias", None)
    return Towers(
        model=model,
        image=family.image(model),
        text=_masked(text, tokens) if family.masked else lambda ids: text(ids, None),
        tokens=tokens,
        pixels=pixels,
        dim=int(stated(model.config, family.dim)),
        log_scale=lambda: family.log_scale(model).float() + rounding,
        vision_view=lambda: block_view_hf.vision_view(model),
        text_view=lambda: block_view_hf.text_view(model),
        rebuild=lambda other: as_towers(other, family, tokens, pixels, licence, rounding),
        logit_bias=None if bias is None else float(bias),
        states_scale=family.log_scale is not _usual_scale,
        licence=licence,
    )


def _masked(
    text: Callable[[Tensor, Tensor | None], Tensor], tokens: HfTokens
) -> Callable[[Tensor], Tensor]:
    """Ids that end in ``NO_TOKEN`` to features; texts of one length run without any padding."""
    pad = int(tokens.tokenizer.pad_token_id or 0)

    def features(ids: Tensor) -> Tensor:
        mask = ids != NO_TOKEN
        longest = int(mask.sum(dim=1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        return text(ids.masked_fill(~mask, pad), mask.long())

    return features


def _keeps_capitals(tokenizer: Any) -> bool:
    """Return whether a tokeniser reads capital letters as other tokens than small ones.

    That of SigLIP 2 lower-cases by itself or not, by the class that a folder states for it.
    """
    capitals, small = (tokenizer(text).input_ids for text in (ascii_uppercase, ascii_lowercase))
    return capitals != small


def _longest_text(config: Any, tokenizer: Any) -> int:
    """Tokens that text tower and tokeniser take; positions of RoBERTa begin behind padding."""
    longest = int(config.max_position_embeddings)
    if config.model_type in _OFFSET_POSITIONS:
        longest -= int(config.pad_token_id or 0) + 1
    return min(longest, int(min(tokenizer.model_max_length, _MOST_TOKENS)))


def licence(source: WeightSource, random_init: bool) -> str:
    """Licence of the weights, as far as known."""
    if random_init:
        return "none: random weights"
    return f"that of the weights {source.target!r}: see their model card"


def processor_of(source: WeightSource) -> dict[str, Any]:
    """The settings of the image processor; of the video processor where that is the only one."""
    try:
        processor: Any = AutoImageProcessor.from_pretrained(source.place, **source.options)
    except (OSError, ValueError, KeyError):
        from transformers import AutoVideoProcessor  # older versions have none

        processor = AutoVideoProcessor.from_pretrained(source.place, **source.options)
    return processor.to_dict()


def _folder(target: str, options: Mapping[str, str]) -> Path:
    """Folder to load from; a model of the hub is fetched at first use."""
    path = Path(target).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"folder {path} has no config.json; save the model, its tokeniser and its image "
                "processor with save_pretrained (openclip: reads open_clip folders)"
            )
        return path
    if _HUB_NAME.fullmatch(target) is None or len(target) > _LONGEST_NAME:
        raise ModelError(
            f"hf:{target[:120]} is neither a folder nor ORG/NAME; for example hf:{_WELL_KNOWN[1]}"
        )
    try:
        return ready(f"hf:{target}", *of_transformers(target, options))[0]
    except UnknownNameError as error:
        near = difflib.get_close_matches(target, _WELL_KNOWN, n=3, cutoff=0.3)
        raise UnknownNameError(
            f"{error.message}; near: {', '.join(near) or 'nothing known'}"
        ) from error


def weights(
    source: WeightSource, loader: Any, random_init: bool, attention: str | None = None
) -> nn.Module:
    """The model with its weights, every one of them; or with seeded random ones.

    Args:
        source: The configuration.
        loader: ``AutoModel`` or one of its kind.
        random_init: Start without weights.
        attention: Implementation of attention; None for the library's choice.

    Raises:
        ModelError: a weight is missing, of another shape, or of no part of the network that the
            configuration names.
    """
    more = {} if attention is None else {"attn_implementation": attention}
    if random_init:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if hasattr(loader, "from_config"):
                return loader.from_config(source.config, **data_only(), **more)
            return loader(source.config)
    model, told = loader.from_pretrained(
        source.place, output_loading_info=True, **source.options, **more
    )
    check_complete(told, source.config, source.name)
    return model


def check_complete(told: Mapping[str, Any], config: Any, name: str) -> None:
    """Refuse weights that are not those of the network which a configuration names.

    Args:
        told: What the library told of the loading: keys that are missing, mismatched, unexpected.
        config: The configuration.
        name: Names the source in the error.

    Raises:
        ModelError: a weight is missing, of another shape, or left over.
    """
    wrong = [*told["missing_keys"], *(str(key) for key in told["mismatched_keys"])]
    if wrong:
        raise ModelError(
            f"the weights of {name} do not fit its config.json: {len(wrong)} are missing or "
            f"of another shape, first {min(wrong)}; a random start was not asked for"
        )
    over = set(told["unexpected_keys"])
    if over and (over := over - _declared(config)):
        raise ModelError(
            f"the weights of {name} do not fit its config.json: {len(over)} are left over, "
            f"first {min(over)}; use the config.json that was saved with them"
        )


def _declared(config: Any) -> set[str]:
    """Names of the weights of the network that a configuration names, with its heads."""
    make = getattr(transformers, next(iter(config.architectures or ()), ""), None)
    if make is None:
        return set()
    with torch.device("meta"):
        return set(make(config).state_dict())


@contextmanager
def clear_errors(target: str) -> Generator[None]:
    """Turn an error of loading into one line with the remedy."""
    try:
        with quiet_libraries():
            yield
    except (*LOADING_ERRORS, pickle.UnpicklingError) as error:
        raise _explained(target, error) from error


def _explained(target: str, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if (missing := missing_library(f"hf:{target}", error)) is not None:
        return missing
    if isinstance(error, pickle.UnpicklingError):
        return ModelError(
            f"the weights of hf:{target} are a pickle that is damaged or needs code, and nothing "
            "of it was run; save the model as safetensors"
        )
    if trust.asks_for_code(text):
        return trust.refusal(f"hf:{target}", "auto_map names a class of its own")
    if "ignore_mismatched_sizes" in text or "size mismatch" in text:
        return ModelError(
            f"the weights of hf:{target} do not fit its config.json: some are of another shape; "
            "use the config.json that was saved with them"
        )
    if "preprocessor" in text or "image processor" in text.lower():
        return ModelError(
            f"hf:{target} has no preprocessor_config.json, which sets how frames are scaled; save "
            "its image processor next to the weights"
        )
    return ModelError(f"hf:{target} cannot be loaded: {text[:300]}")
