"""Models by one word: what each is for, where it comes from, what it costs, whether it is here.

The rows are in ``catalogue.toml``. A row's alias works wherever a model is named; what is saved
always states the full spec. A figure belongs to a protocol, and two protocols are never compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.encoders.spec import joined
from vlar.errors import ModelError
from vlar.toml import read_toml
from vlar.types import JsonDict

USES = ("classify", "query")
DEVICES = ("cpu", "cuda")
_REVISION = re.compile(r"^((?:hf|st|openclip):[\w.-]+(?:/[\w.-]+)?)@([\w./-]+)\??")
NOT_PINNED = "revision not pinned"
#: What a loader looks for in a repository, and the file that comes last in a download.
_LOOKED_FOR = ("config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class CatalogueEntry:
    """A model of the catalogue.

    Attributes:
        alias: The word.
        purpose: Its use.
        spec: Spec that loads it, without the revision.
        licence: Licence of the weights.
        parameters_m: Millions of parameters.
        download_mb: About, in MB.
        repository: On the hub, where the spec does not name it.
        revision: Commit; None where it is not known.
        non_commercial: Whether the licence forbids commercial use.
        dim: Width of the space; None where it is made of blocks.
        dims: Widths that a vector may be cut to.
        per_clip: Whether it gives one feature a clip, not one a frame.
        note: Other remarks.
        figures: Published figures in percent, by protocol.
        cpu: Measured seconds: ``clip_s``, ``text_s`` and what else the benchmark prints.
        advice: A sentence by use and device: ``query.cpu``.
    """

    alias: str
    purpose: str
    spec: str
    licence: str
    parameters_m: int
    download_mb: int
    repository: str = ""
    revision: str | None = None
    non_commercial: bool = False
    dim: int | None = None
    dims: list[int] = field(default_factory=list[int])
    per_clip: bool = False
    note: str = ""
    figures: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    cpu: dict[str, float] = field(default_factory=dict[str, float])
    advice: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def full_spec(self) -> str:
        """The spec with the revision, which a manifest states."""
        return joined(self.spec, {"revision": self.revision} if self.revision else {})

    @property
    def hub_name(self) -> str:
        """The repository on the hub; empty where it comes out of packages."""
        return self.repository or self.spec.partition(":")[2]

    @property
    def is_encoder(self) -> bool:
        """Whether it compares clips with texts; others serve a captioner."""
        return self.spec.partition(":")[0] in registry.names("encoder")

    def is_here(self) -> bool:
        """Return whether its weights are on this disk."""
        if not self.hub_name:
            from vlar.files.fetched_weights.packages import extra

            return extra(self.alias).is_installed()
        from vlar.encoders.clip import options as hub

        return hub.cached(self.hub_name, _LOOKED_FOR, self.revision) is not None

    def to_dict(self) -> JsonDict:
        """All of it, as one JSON object."""
        whole = {name: value for name, value in vars(self).items() if value not in ("", {}, [])}
        figures = {name: {**protocols()[name], **row} for name, row in self.figures.items()}
        pinned = self.revision or NOT_PINNED
        return {
            "kind": "model",
            **whole,
            "spec": self.full_spec,
            "figures": figures,
            "revision": pinned,
            "here": self.is_here(),
        }


@cache
def _data() -> dict[str, Any]:
    return read_toml((files("vlar.encoders") / "catalogue.toml").read_text("utf-8"))


@cache
def entries() -> dict[str, CatalogueEntry]:
    """All models by alias, in the order of advice."""
    rows: dict[str, dict[str, Any]] = _data()["models"]
    return {alias: CatalogueEntry(alias, **row) for alias, row in rows.items()}


def protocols() -> dict[str, dict[str, str]]:
    """Meaning of each protocol (``what``) and the source of its figures (``source``)."""
    return _data()["protocols"]


def entry(alias: str) -> CatalogueEntry:
    """The model called ``alias``.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    if alias not in entries():
        raise registry.unknown_name("model", alias, entries())
    return entries()[alias]


def resolve(spec: str) -> str:
    """A spec with its alias replaced; any other spec as it is.

    >>> resolve("siglip2?precision=bfloat16").startswith("hf:google/siglip2")
    True
    >>> resolve("openclip:ViT-B-32/openai")
    'openclip:ViT-B-32/openai'
    >>> resolve("hf:me/clip@v2?fps=2"), resolve("hf:me/clip@v2")
    ('hf:me/clip?revision=v2&fps=2', 'hf:me/clip?revision=v2')

    Raises:
        ModelError: it is not an encoder, or needs code of its own.
    """
    spec = _REVISION.sub(r"\1?revision=\2&", spec).rstrip("&")
    name, mark, options = spec.partition("?")
    _refuse_code(name)
    if ":" in name or name in registry.names("encoder") or name not in entries():
        return spec
    entry = entries()[name]
    if not entry.is_encoder:
        raise ModelError(f"{name} is a model of speech, for captions; use --captions speech:{name}")
    if not mark:
        return entry.full_spec
    return f"{entry.full_spec}{'&' if entry.revision else '?'}{options}"


def _refuse_code(name: str) -> None:
    """Refuse a model that comes with code of its own, by name and before anything is fetched."""
    target = name.rpartition(":")[2]
    for row in _data()["needs_code"]:
        begins = any(part.startswith(row["name"]) for part in target.lower().split("/"))
        if begins and not Path(target).expanduser().exists():
            raise ModelError(
                f"{name!r} comes with code of its own, which vlar never runs; take "
                f"{' or '.join(row['instead'])} instead: vlar models get {row['instead'][0]}"
            )


def recommend(use: str, device: str) -> list[CatalogueEntry]:
    """The models to take for a use on a device, the first choice first.

    Args:
        use: One of ``USES``.
        device: One of ``DEVICES``.

    Raises:
        UnknownNameError: neither is known.
    """
    for what, name, names in (("use", use, USES), ("device", device, DEVICES)):
        if name not in names:
            raise registry.unknown_name(what, name, names)
    return [row for row in entries().values() if f"{use}.{device}" in row.advice]
