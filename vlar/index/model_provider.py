"""The model a library was opened with, loaded when it is needed and not before."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from vlar.index.maintenance.compact import probes_of
from vlar.index.manifest import Manifest
from vlar.index.paths import place
from vlar.index.protocol import LibraryModel, Probes
from vlar.index.store.writer import Writer

DEFAULT_MODEL = "lite"


class ModelAtHand:
    """A model, its name, or nothing: then the library's own, ``lite`` for a new library."""

    def __init__(self, model: LibraryModel | str | Path | None, folder: Path) -> None:
        self._spec = model if isinstance(model, str | Path) else None
        self._model = None if isinstance(model, str | Path) else model
        self._folder = folder

    def loaded(self, manifest: Manifest | None) -> LibraryModel:
        """The model, which is the one of the manifest.

        Raises:
            EncoderMismatchError: it is another one.
        """
        if self._model is None:
            from vlar.model.model import load

            own = DEFAULT_MODEL if manifest is None else manifest.model
            self._model = cast("LibraryModel", load(self._spec or own))
        if manifest is not None:
            manifest.require_model(self._model, self._folder)
        return self._model

    def new_manifest(
        self,
        window_s: float | None = None,
        stride_s: float | None = None,
        long_times: float | None = None,
    ) -> Manifest:
        """For a library that holds nothing yet."""
        model = self.loaded(None)
        # A model folder is found again from wherever the library is opened.
        spec = model.name if self._spec is None else str(self._spec)
        name = place(spec) if Path(spec).is_dir() else spec
        return Manifest.new(model, name, window_s, stride_s, long_times)

    def begin(self, writer: Writer, manifest: Manifest) -> None:
        """Write the manifest where it is new; a model that is loaded must be its own."""
        if self._model is not None:
            manifest.require_model(self._model, self._folder)
        if "fingerprint" not in writer.meta():
            writer.set_meta(manifest.to_meta())

    def model_for(self, writer: Writer, manifest: Manifest) -> LibraryModel:
        """The model; inside the transaction of a video, with which the manifest comes."""
        model = self.loaded(manifest)
        self.begin(writer, manifest)
        return model

    def probes(self) -> Probes | None:
        """Text vectors of the model, where it is loaded."""
        return None if self._model is None else probes_of(self._model)
