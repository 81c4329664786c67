"""Repositories of the hub that a model is read from: which of their files, and where these lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import parse_qsl

from vlar.encoders.catalogue import CatalogueEntry, entries
from vlar.encoders.clip import options as hub
from vlar.encoders.spec import joined, yes

_OTHER_FORMS = ("onnx/", "openvino/", "original/")


@dataclass(frozen=True)
class Hub:
    """A repository, and the files of it that a model is read from; the defaults are transformers'.

    Attributes:
        repository: ``ORG/NAME``.
        revision: Branch, tag or commit; None for the newest.
        weights: Patterns of the weights; the first kind of which the repository has a file is
            fetched, the others are not. None at all for a tokeniser or a configuration.
        settings: Patterns of what is fetched with them.
        looked_for: Files by which a loader recognises the repository, the best first.
        depth: Folders in which a file may lie.
        licence: Licence where the name states it and no row of the catalogue does; else the hub's.
    """

    repository: str
    revision: str | None = None
    weights: tuple[tuple[str, ...], ...] = (
        *(("model.safetensors",), ("model-*-of-*.safetensors",)),
        *(("pytorch_model.bin",), ("pytorch_model-*-of-*.bin",)),
    )
    settings: tuple[str, ...] = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
    looked_for: tuple[str, ...] = ("config.json",)
    depth: int = 0
    licence: str = ""

    @property
    def entry(self) -> CatalogueEntry | None:
        """The model of the catalogue that lies in the repository; None for none."""
        return next((r for r in entries().values() if r.hub_name == self.repository), None)

    def folder(self) -> Path | None:
        """Folder of the files in the hub's cache; None where they or some are not there."""
        file = hub.cached(self.repository, self.looked_for, self.revision)
        if file is None:
            return None
        names = [path.relative_to(file.parent).as_posix() for path in file.parent.rglob("*")]
        return file.parent if self.wanted(names) else None

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Files of a repository that the model needs, weights first and ``config.json`` last.

        Returns:
            Their names; empty where the repository has no weights.
        """
        names = [
            name
            for name in names
            if name.count("/") <= self.depth and not name.startswith(_OTHER_FORMS)
        ]
        kinds = ([name for name in names if _any(name, patterns)] for patterns in self.weights)
        weights = next(filter(None, kinds), [])
        if self.weights and not weights:
            return []
        settings = [n for n in names if _any(n, self.settings) and n not in weights]
        return sorted(weights) + sorted(settings, key=lambda n: (n == "config.json", n))


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def of_transformers(target: str, options: Mapping[str, str]) -> list[Hub]:
    """Source of ``ORG/NAME`` with the options of its name; none of a path."""
    if Path(target).expanduser().is_dir() or target.count("/") != 1:
        return []
    source = Hub(target, options.get("revision"))
    return [replace(source, weights=()) if yes(options, "random_init") else source]


def tokeniser(repository: str) -> Hub:
    """Source of a tokeniser, or of the configuration of a text tower."""
    return Hub(repository, weights=(), looked_for=("tokenizer_config.json", "config.json"))


def pinned(name: str, sources: Sequence[Hub]) -> str:
    """A model's name with the commit of its weights in the hub's cache; as it is without any."""
    folder = next((source.folder() for source in sources if source.weights), None)
    if folder is None:
        return name
    main, _, options = name.partition("?")
    given = dict(parse_qsl(options.replace("+", "%2B"), keep_blank_values=True))
    return joined(main, {**given, "revision": folder.name})
