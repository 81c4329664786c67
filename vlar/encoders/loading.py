"""Encoders from names: the loader of ``registry.load("encoder", spec)``, and of adapters."""

from __future__ import annotations

from pathlib import Path

from vlar import registry
from vlar.encoders.base import Encoder
from vlar.encoders.fused import joined
from vlar.encoders.model_spec import ModelPart, ModelSpec
from vlar.encoders.spec import AUTO, BUNDLE, missing_library, plain_precision
from vlar.errors import UsageError, VlarError


def load(
    kind: str, spec: str | Path | ModelSpec, *, device: str | None = None, dtype: str | None = None
) -> Encoder:
    """The encoder that a name stands for, or the adapter with its encoder.

    Args:
        kind: ``encoder`` for both; ``adapter`` refuses an encoder.
        spec: A name; a folder is none.
        device: As for ``load_encoder``; a part that only runs on the CPU stays there.
        dtype: As for ``load_encoder``.

    Raises:
        UnknownNameError: a part does not exist.
        UsageError: a part cannot run there, or the parts do not go together.
    """
    if not isinstance(spec, ModelSpec):
        spec = ModelSpec.parse(spec, folders=False)
    if kind == "adapter" and spec.parts[0].name not in registry.names(kind):
        raise registry.unknown_name(kind, spec.parts[0].name, registry.names(kind))
    kinds = [part.kind for part in spec.parts]  # of all parts, before one is loaded
    if dtype not in (None, AUTO):
        dtype = plain_precision(dtype)
    placement = {"device": device, "dtype": dtype}
    if len(kinds) == 1 and not spec.is_bundle:
        return _made(kinds[0], spec.parts[0], placement)
    encoders = [
        _made(kind, part, {} if _on_cpu(kind, part) else placement)
        for kind, part in zip(kinds, spec.parts, strict=True)
    ]
    factors = [part.weight for part in spec.parts]
    if spec.is_bundle:
        return registry.get("encoder", BUNDLE)(encoders, factors)
    return joined(encoders, factors)


def _on_cpu(kind: str, part: ModelPart) -> bool:
    return kind == "encoder" and getattr(registry.get(kind, part.name), "cpu_only", False)


def _made(kind: str, part: ModelPart, place: dict[str, str | None]) -> Encoder:
    if kind == "adapter" and not part.argument:
        raise UsageError(f"{part.name!r} needs a checkpoint; write {part.name}:FILE")
    if place.get("dtype") == AUTO and not getattr(registry.get(kind, part.name), "types", False):
        place = {**place, "dtype": None}
    try:
        return registry.made(kind, part, **place)
    except (ImportError, OSError) as error:
        what = f"{kind} {part.name!r}"
        if not isinstance(error, VlarError) and (missing := missing_library(what, error)):
            raise missing from error
        raise
