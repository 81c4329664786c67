"""The name of a model, parsed once: ``lite``, ``A+B?weight=2``, ``bundle:A+B``, ``method:FILE``.

A name is an encoder or an alias of ``vlar models``, an adapter with its checkpoint, several of
them joined by ``+``, or the path of a model folder. ``ModelSpec.parse`` decides which, where a
name enters; all else reads the object. ``registry.load("encoder", spec)`` makes the encoder of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vlar import registry
from vlar.encoders.catalogue import entries, resolve
from vlar.encoders.hub_folder import PREFIX, HubFolder
from vlar.encoders.spec import BUNDLE, PRECISION, split_parts, split_weight, take, with_weight
from vlar.errors import UsageError
from vlar.registry import PartSpec

#: The file by which a folder is recognised as a saved model.
MODEL_MANIFEST = "vlar.json"
_LONGEST_NAME = 255  # bytes; no file system holds a longer one
_PREFIX = re.compile(r"^[\w-]+:")


@dataclass(frozen=True)
class ModelPart(PartSpec):
    """One encoder or adapter of a model's name, its alias replaced.

    Attributes:
        weight: Factor of its logits in a joint model.
    """

    weight: float = 1.0

    def __str__(self) -> str:
        return with_weight(super().__str__(), self.weight)

    @property
    def kind(self) -> str:
        """``adapter`` or ``encoder``, under which the part is registered.

        Raises:
            UnknownNameError: neither has its name.
        """
        for kind in ("encoder", "adapter"):
            if self.name in registry.names(kind):
                return kind
        # An adapter begins a name only together with the file of its checkpoint.
        names = model_names() if self.argument else {*registry.names("encoder"), *entries()}
        raise registry.unknown_name("encoder, adapter or model folder", self.name, names)


@dataclass(frozen=True)
class ModelSpec:
    """The name of a model.

    >>> spec = ModelSpec.parse("bundle:skeleton+imu?weight=2")
    >>> str(spec), spec.is_bundle, [(part.name, part.weight) for part in spec.parts]
    ('bundle:skeleton+imu?weight=2', True, [('skeleton', 1.0), ('imu', 2.0)])

    Attributes:
        text: The name as it was written, which manifests and libraries state.
        parts: Encoders and adapters, in the order of their blocks; none for a folder.
        is_bundle: Whether the parts read one sensor each.
        folder: The model folder; None for another name.
    """

    text: str
    parts: tuple[ModelPart, ...] = ()
    is_bundle: bool = False
    folder: Path | None = None

    def __str__(self) -> str:
        return self.text

    def is_but_for_precision(self, stored: ModelSpec) -> bool:
        """Return whether a stored name is that of the same model, in whatever number type.

        It may also pin a revision that this one leaves open.

        >>> name, stored = map(ModelSpec.parse, ("st:a", "st:a?precision=bfloat16&revision=b"))
        >>> name.is_but_for_precision(stored), stored.is_but_for_precision(name)
        (True, False)
        """
        free = [PRECISION, *([] if "revision=" in self.text else ["revision"])]
        plain, others = (
            [take(str(part), free)[0] for part in spec.parts] for spec in (self, stored)
        )
        return plain == others and self.is_bundle == stored.is_bundle

    @classmethod
    def parse(cls, text: str | Path | ModelSpec, *, folders: bool = True) -> ModelSpec:
        """The name that a text is; one that is parsed already stays as it is.

        Args:
            text: A name, or a path, which is always a folder.
            folders: Whether it may be a model folder; False for what a manifest states.

        Raises:
            UsageError: it is empty or too long, or a part is empty or comes twice.
            ModelError: an alias stands for a model of speech, or a part needs code of its own.
        """
        if isinstance(text, ModelSpec):
            return text
        if folders and (folder := model_folder(text)) is not None:
            return cls(str(text), folder=folder)
        text = str(text)
        if not text.strip():
            raise UsageError("the encoder name is empty; use 'lite' or see 'vlar models'")
        prefix, _, argument = text.partition(":")
        is_bundle = prefix == BUNDLE
        listed = argument if is_bundle else text
        parts = split_parts(listed, model_names()) if "+" in listed else [listed]
        several = is_bundle or len(parts) > 1
        pairs = [split_weight(part) if several else (part, 1.0) for part in parts]
        named = [replace(ModelPart.parse(resolve(part)), weight=weight) for part, weight in pairs]
        return cls(text, tuple(named), is_bundle)


def model_names() -> set[str]:
    """Names that begin a model's name, or a part of one."""
    return {*registry.names("encoder"), *registry.names("adapter"), *entries()}


def model_folder(spec: str | Path) -> Path | None:
    """The model folder that a path or ``hf-hub:ORG/NAME`` stands for; None for another name.

    Raises:
        ModelError: it is of the hub and was not fetched.
        UsageError: the name is malformed.
    """
    if isinstance(spec, str) and spec.startswith(PREFIX):
        return HubFolder.parse(spec).require()
    return Path(spec).expanduser() if is_model_folder(spec) else None


def is_model_folder(spec: str | Path) -> bool:
    """Return whether a name is the path of a model folder rather than the name of an encoder.

    A folder that is called as an encoder or adapter is one only where it holds a model.

    Raises:
        UsageError: no file system holds so long a name.
    """
    if isinstance(spec, Path):
        return True
    longest = max((len(part.encode()) for part in Path(spec).parts), default=0)
    if longest > _LONGEST_NAME:
        raise UsageError(
            f"the model's name {spec[:60]!r} has {longest} characters; see 'vlar models' for names"
        )
    prefix, colon, _ = spec.partition(":")  # openclip:/a/file is not a folder, ./a/model is
    if os.sep in (prefix if colon else spec):
        return True
    folder = os.path.expanduser(spec)  # noqa: PTH111 - a name may be no path at all
    if not os.path.isdir(folder):  # noqa: PTH112
        return False
    return (Path(folder) / MODEL_MANIFEST).is_file() or spec not in model_names()


def path_like(text: str) -> Iterator[str]:
    """Yield all of a name that may be a path: joined names (A+B) and values of options.

    It reads text that nobody has checked, so it takes more for a part than ``parse`` does.

    >>> sorted(path_like("tc-clip:best.pth?base=openclip:x.pt"))
    ['best.pth', 'x.pt']
    """
    main, _, options = text.partition("?")
    for part in {main, *main.split("+")}:
        yield _PREFIX.sub("", part)
    for option in options.split("&"):
        value = option.partition("=")[2]
        if value:
            yield from path_like(value)
