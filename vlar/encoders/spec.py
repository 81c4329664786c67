"""Options in a model name: ``openclip:clip.safetensors?arch=ViT-B-16&precision=bfloat16``."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from vlar.errors import PackageError, UsageError
from vlar.registry import unknown_name
from vlar.version import is_installed, package_command, package_fault

_ADVICE = re.compile(r"pip3? install (?:-\S+ )*[`'\"]*([A-Za-z][\w.-]*)")
_NAMED = re.compile(r"\b(sentencepiece|tiktoken|protobuf|timm|torchvision)\b", re.IGNORECASE)


def missing_library(what: str, error: BaseException) -> PackageError | None:
    """The error for a library that is absent or broken; None where ``error`` is not about one.

    Args:
        what: Names the model in the message.
        error: What loading raised: of an import, or another library's advice to install one.
    """
    if (fault := package_fault(error)) is not None:
        return PackageError(f"{what}: {fault}")
    text = " ".join(str(error).split())
    match = _ADVICE.search(text) or _NAMED.search(text)
    module = match[1].rstrip(".").lower() if match else ""
    if not module or is_installed("google.protobuf" if module == "protobuf" else module):
        return None
    return PackageError(
        f"{what} needs the library {module}, which is not installed; run: {package_command(module)}"
    )


#: The end of a class of transformers, and what such a model is. The first match counts.
_KINDS = (
    (r"ForObjectDetection$|ForZeroShotObjectDetection$", "a detector"),
    (r"Segmentation$|ForMaskGeneration$|ForImageMatting$", "a model that segments pictures"),
    (r"ForCausalLM$|LMHeadModel$|ForConditionalGeneration$|ForSeq2SeqLM$", "a chat or text model"),
    (
        r"ForMaskedLM$|ForSequenceClassification$|ForTokenClassification$|ForQuestionAnswering$",
        "a text model",
    ),
    (r"ForImageClassification$", "a classifier of pictures with fixed classes"),
    (r"ForDepthEstimation$|ForPoseEstimation$|ForKeypointDetection$", "a model of depth or pose"),
    (r"ForSpeechSeq2Seq$|ForCTC$|ForAudioClassification$|TextToWaveform$", "a speech model"),
    (r"Pipeline$|UNet\w*$|Transformer2DModel$", "a model that makes pictures"),
)


def other_kind(architectures: Sequence[str]) -> str | None:
    """Kind of a model that gives no vectors for clips and texts; None if not recognised.

    >>> other_kind(["LlamaForCausalLM"]), other_kind(["CLIPModel"])
    ('a chat or text model', None)

    Args:
        architectures: Architectures of its ``config.json``.
    """
    for name in architectures:
        for pattern, kind in _KINDS:
            if re.search(pattern, str(name)):
                return kind
    return None


N = TypeVar("N", int, float)
INT8 = "int8"
WEIGHT = "weight"
BUNDLE = "bundle"
AUTO = "auto"
STATED = "stated"  # the number type that a name states, else float32: names that were stored
PRECISION = "precision"
_MOST_FRAMES = 1024
#: Names of precisions, and the short names that people know them by.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    INT8: INT8,
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
}


def plain_precision(name: str) -> str | None:
    """The full name of a precision; None for ``auto`` and ``stated``, which leave it to the model.

    >>> plain_precision("bf16"), plain_precision("auto")
    ('bfloat16', None)

    Raises:
        UnknownNameError: the precision does not exist.
    """
    if name in (AUTO, STATED):
        return None
    if name not in PRECISIONS:
        raise unknown_name("precision", name, (AUTO, *PRECISIONS))
    return PRECISIONS[name]


def split_options(argument: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """The part before the first ``?`` and the options behind it.

    >>> split_options("a.pt?arch=ViT-B-16", ["arch"])
    ('a.pt', {'arch': 'ViT-B-16'})

    Raises:
        UnknownNameError: an option does not exist; the message names the nearest.
        UsageError: what follows the ``?`` is not a list of ``name=value``, or states a name twice.
    """
    main, mark, query = argument.partition("?")
    if not mark:
        return argument, {}
    try:
        # Plain text, not a form: a + in a path stays a +.
        pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise UsageError(
            f"the options {query!r} of {argument!r} are not name=value; write for example "
            f"{main}?{min(known)}=VALUE"
        ) from error
    for name, _ in pairs:
        if name not in known:
            raise unknown_name("model option", name, known)
        if sum(name == other for other, _ in pairs) > 1:
            raise UsageError(f"{argument!r} states {name!r} twice; state it once")
    return main, dict(pairs)


def joined(main: str, options: Mapping[str, str]) -> str:
    """The argument that ``split_options`` splits into these two.

    >>> joined("a.pt", {"arch": "ViT-B-16"})
    'a.pt?arch=ViT-B-16'
    """
    return f"{main}?{urlencode(options, safe='/:')}" if options else main


def number(name: str, text: str, kind: type[N]) -> N:
    """The value of an option as a whole number or any number.

    >>> number("radius", "2", int)
    2

    Raises:
        UsageError: it is none.
    """
    try:
        return kind(text)
    except ValueError as error:
        kind_name = "a whole number" if kind is int else "a number"
        raise UsageError(f"model option {name}={text!r} must be {kind_name}") from error


def rate_of(options: Mapping[str, str]) -> tuple[float | None, int | None]:
    """Frames a second, and T or the largest T, from the options ``fps`` and ``frames``.

    >>> rate_of({"fps": "2", "frames": "16"}), rate_of({})
    ((2.0, 16), (None, None))

    Raises:
        UsageError: one is out of range.
    """
    fps = number("fps", options["fps"], float) if "fps" in options else None
    frames = number("frames", options["frames"], int) if "frames" in options else None
    if frames is not None and not 1 <= frames <= _MOST_FRAMES:
        raise UsageError(f"model option frames={frames} must be from 1 to {_MOST_FRAMES}")
    if fps is not None and not 1e-3 <= fps <= 1e3:
        raise UsageError(f"model option fps={fps} must be from 0.001 to 1000 frames a second")
    return fps, frames


def yes(options: Mapping[str, str], name: str) -> bool:
    """Return whether a switch is on.

    Raises:
        UsageError: the value is neither true nor false.
    """
    value = options.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"model option {name}={value!r} must be true or false")
    return value in ("true", "1")


def take(text: str, names: Collection[str]) -> tuple[str, list[str]]:
    """A name without some of its options, and those options as they are written.

    >>> take("openclip:a?precision=int8&weight=2", ["weight"])
    ('openclip:a?precision=int8', ['weight=2'])
    """
    main, _, query = text.partition("?")
    options = [option for option in query.split("&") if option]
    chosen = [option for option in options if option.partition("=")[0] in names]
    if not chosen:
        return text, []
    others = "&".join(option for option in options if option not in chosen)
    return f"{main}?{others}" if others else main, chosen


def split_parts(spec: str, known: Collection[str]) -> list[str]:
    """The parts of a name; one part where nothing is joined.

    A ``+`` in a path stays, unless what follows it begins with a known name.

    >>> split_parts("hf:/a+b/c+motion", ["hf", "motion"])
    ['hf:/a+b/c', 'motion']
    >>> split_parts("lite+mot", ["lite", "motion"])
    ['lite', 'mot']

    Raises:
        UsageError: a part is empty, or one comes twice.
    """
    parts: list[str] = []
    for piece in spec.split("+"):
        if parts and _name(piece.strip()) not in known and _is_path(f"{parts[-1]}+{piece}"):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece.strip())
    if len(parts) > 1 and not all(parts):
        raise UsageError(f"the model {spec!r} has an empty part; write A+B, such as lite+motion")
    twice = next((part for part in parts if parts.count(part) > 1), None)
    if twice is not None:
        raise UsageError(f"the model {spec!r} holds {twice!r} twice; join encoders that differ")
    return parts


def split_weight(spec: str) -> tuple[str, float]:
    """A part without its option ``weight``, and the factor that the option gives; 1 without one.

    >>> split_weight("openclip:a?precision=int8&weight=2")
    ('openclip:a?precision=int8', 2.0)

    Raises:
        UsageError: the weight is not a number above 0.
    """
    others, options = take(spec, [WEIGHT])
    if not options:
        return spec, 1.0
    factor = number(WEIGHT, options[-1].partition("=")[2], float)
    if not 0 < factor < math.inf:
        raise UsageError(f"model option {options[-1]} must be a number above 0; 1 is the default")
    return others, factor


def with_weight(name: str, factor: float) -> str:
    """The part that ``split_weight`` splits into these two.

    >>> with_weight("motion", 1.0), with_weight("a?b=c", 0.5)
    ('motion', 'a?b=c&weight=0.5')
    """
    if factor == 1.0:
        return name
    number = repr(factor).removesuffix(".0")  # all digits: they are part of the fingerprint
    return f"{name}{'&' if '?' in name else '?'}{WEIGHT}={number}"


def _name(piece: str) -> str:
    return piece.partition(":")[0].partition("?")[0]


def _is_path(part: str) -> bool:
    """Return whether the argument of a part is a path by its form, or one that exists."""
    argument = part.partition(":")[2].partition("?")[0]
    return argument.startswith(("/", ".", "~")) or (bool(argument) and Path(argument).exists())
