"""The model that a library was opened with, loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vlar.encoders import trusted_paths
from vlar.encoders.hub_folder import PREFIX
from vlar.encoders.model_spec import ModelSpec
from vlar.encoders.spec import PRECISION, STATED
from vlar.files.recent import Recent
from vlar.library.engines.base import Probes
from vlar.library.manifest import LibraryManifest
from vlar.library.shared_calls import SharedCalls
from vlar.library.store.paths import place
from vlar.model.library_model import LibraryModel
from vlar.types import Float32

if TYPE_CHECKING:
    from vlar.model.model import Model

DEFAULT_MODEL = "lite"
LoadModel = Callable[[str | None], LibraryModel]
"""Loads the model on a device; None is its default."""
_PROBE_BANK = "everyday_actions"
_KEPT_PHRASES = 1024


@dataclass(frozen=True)
class BoundModel:
    """The model of one library, which its manifest allows; it is loaded for the first clip.

    Attributes:
        manifest: The library's, or what a new one begins with.
        is_new: Whether the library has no rows yet.
        here: Loads it in this process.
        elsewhere: Gives the function that loads it in another process.
    """

    manifest: LibraryManifest
    is_new: bool
    here: LoadModel
    elsewhere: Callable[[], LoadModel]


class LazyModel:
    """A model, its name, or None: the library's own, or ``lite`` for a new library."""

    def __init__(self, model: Model | LibraryModel | str | Path | None, folder: object) -> None:
        is_name = isinstance(model, str | Path)
        self._spec = ModelSpec.parse(model) if is_name else None
        words = None if is_name else getattr(model, "words", model)
        self._model = None if words is None else _with_defaults(words)
        self.folder = folder
        self._is_chosen, self._chosen_for = model is None, ""
        self._lock = threading.RLock()  # a query and an add may ask for it at once

    def loaded(self, manifest: LibraryManifest | None) -> LibraryModel:
        """The model, which is the one of the manifest.

        One that the library chose itself follows when another process changes it.

        Raises:
            EncoderMismatchError: it is another one.
        """
        with self._lock:
            if self._model is None and self._spec is None and manifest is None:
                self._spec = ModelSpec.parse(DEFAULT_MODEL)
            model = self._opened(manifest)
            if manifest is not None and (model is None or self._has_moved(manifest, model)):
                require_named(self.folder, manifest.model, manifest.fingerprint)
                self._model, self._chosen_for = load_on(manifest.model), manifest.fingerprint
        model = cast("LibraryModel", self._model)
        if manifest is not None:
            manifest.require_model(model, self.folder)
        return model

    def _has_moved(self, manifest: LibraryManifest, model: LibraryModel) -> bool:
        is_other = manifest.fingerprint not in (model.fingerprint, self._chosen_for)
        return self._is_chosen and is_other

    def given(self) -> LibraryModel | None:
        """The model that the library was opened with; None where it chooses its own."""
        return None if self._is_chosen else self._opened()

    def _opened(self, manifest: LibraryManifest | None = None) -> LibraryModel | None:
        if self._model is None and self._spec is not None:
            name, dtype = in_type_of(self._spec.text, manifest.model if manifest else None)
            is_same = name == self._spec.text
            self._model = load_on(self._spec if is_same else name, dtype=dtype)
        return self._model

    def loader(self, manifest: LibraryManifest) -> LoadModel:
        """Loads the model of a library in another process, on a device; pickle carries it.

        Raises:
            ModelError: the library names a path that the user has not named.
        """
        if self._model is None and self._spec is None:
            require_named(self.folder, manifest.model, manifest.fingerprint)
        return partial(load_on, manifest.model)

    def of(self, own: LibraryManifest | None) -> BoundModel:
        """The model of a library, by its manifest; None for one without rows.

        Raises:
            EncoderMismatchError: another model made it.
        """
        manifest = own or self.new_manifest()
        if own is not None:
            self.require(own)
        elsewhere = partial(self.loader, manifest)
        return BoundModel(manifest, own is None, lambda _: self.loaded(manifest), elsewhere)

    def new_manifest(self) -> LibraryManifest:
        """The manifest of a library without rows, with the default windows."""
        model = self.loaded(None)
        spec = self._spec or ModelSpec.parse(model.name)
        if spec.folder is None and ("revision=" in model.name or PRECISION in model.name):
            # A word, what was the newest revision, or the number type that the card decided.
            spec = ModelSpec.parse(model.name)
        name = lasting_name(spec)
        return LibraryManifest.new(model, name, None, None)

    def require(self, manifest: LibraryManifest) -> None:
        """Refuse a model that is not the manifest's; one of the manifest's name is not loaded.

        Raises:
            EncoderMismatchError: it is another one.
        """
        if self._spec is not None and lasting_name(self._spec) != manifest.model:
            self._opened(manifest)  # another name may be the same model
        if self._model is not None and not self._has_moved(manifest, self._model):
            manifest.require_model(self._model, self.folder)

    def probes(self) -> Probes | None:
        """Text vectors of many actions, which an engine measures with; None without a model."""
        return None if self._model is None else partial(_probes, self._model)


class QueryWords:
    """Vectors of the phrases that were asked last; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors = Recent(_KEPT_PHRASES)
        self._shared: tuple[LibraryModel, SharedCalls[list[str], Float32]] | None = None

    def of(self, model: LibraryModel) -> Callable[[Sequence[str]], Sequence[Float32]]:
        """``model.encode_queries``, which encodes the phrases alone that are not kept."""

        def encoded(texts: Sequence[str]) -> Sequence[Float32]:
            keys = [(model.fingerprint, text) for text in texts]
            with self._lock:
                vectors = {key: self._vectors.get(key) for key in keys}
            absent = [key for key, vector in vectors.items() if vector is None]
            if absent:
                rows = self._calls(model)([text for _, text in absent])
                vectors |= zip(absent, rows, strict=True)
            with self._lock:
                return [self._vectors.keep(key, partial(vectors.__getitem__, key)) for key in keys]

        return encoded

    def _calls(self, model: LibraryModel) -> SharedCalls[list[str], Float32]:
        """``model.encode_queries`` for lists of phrases of several threads together."""
        with self._lock:
            if self._shared is None or self._shared[0] is not model:
                self._shared = model, SharedCalls(partial(_encoded_lists, model))
            return self._shared[1]


def _encoded_lists(model: LibraryModel, lists: Sequence[list[str]]) -> list[Float32]:
    """Vectors (Q, D) of each list of phrases."""
    vectors = model.encode_queries([text for texts in lists for text in texts])
    return np.split(vectors, np.cumsum([len(texts) for texts in lists])[:-1])


def lasting_name(spec: ModelSpec) -> str:
    """A model's name by which it is found again from wherever its library is opened."""
    is_path = spec.folder is not None and not spec.text.startswith(PREFIX)
    return place(spec.text) if is_path else spec.text


def require_named(folder: object, spec: str, fingerprint: str | None) -> None:
    """Refuse a path that a library names and the user does not (``vlar.encoders.trusted_paths``).

    Raises:
        ModelError: it is such a path; nothing of it was opened.
        EncoderMismatchError: it is another version of the model.
    """
    how = f"use --model, or bring it up to date: vlar index upgrade {folder}"
    trusted_paths.require(spec, fingerprint, f"library {folder}", how)


def in_type_of(name: str, stored: str | None) -> tuple[str, str | None]:
    """Name and number type to load a model with that the user names for a library.

    A library keeps its number type; a new one has that of the device.

    Args:
        name: As the user gives it.
        stored: Model of the library; None for a new one.
    """
    if stored is None:
        return name, None
    specs = (ModelSpec.parse(text, folders=False) for text in (name, stored))
    is_same = name == stored or next(specs).is_but_for_precision(next(specs))
    return (stored, STATED) if is_same else (name, None)


def load_on(
    spec: str | ModelSpec, device: str | None = None, dtype: str | None = STATED
) -> LibraryModel:
    """The model of a name, on a device; None is its default."""
    from vlar.model.model import load

    return load(spec, device=device, dtype=dtype).words


def _with_defaults(model: Any) -> LibraryModel:
    """The model; one of a class of its own has the defaults of ``LibraryModel``."""
    if isinstance(model, LibraryModel):
        return model
    completed = copy(model)
    completed.__class__ = type(type(model).__name__, (type(model), LibraryModel), {})
    return cast("LibraryModel", completed)


def _probes(model: LibraryModel) -> Float32:
    from vlar.language.bank import load_bank

    return np.asarray(model.encode_queries(load_bank(_PROBE_BANK).texts), np.float32)
