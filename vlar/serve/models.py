"""The models of one server: the library's own, and those that were adapted on the page."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from pathlib import Path

from vlar.errors import one_line
from vlar.model.model import Model, load
from vlar.serve.errors import ServeError
from vlar.types import JsonDict

OWN = "library"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
_MOST_LOADED = 4


class Models:
    """Loads each model when it is first needed; the adapted ones are folders.

    Args:
        spec: Name of the library's model.
        folder: Holds the adapted models.
        device: As for ``vlar.load``.
        dtype: As for ``vlar.load``.
    """

    def __init__(self, spec: str, folder: Path, device: str | None, dtype: str | None) -> None:
        self.spec, self._folder = spec, folder
        self._device, self._dtype = device, dtype
        self._own: Model | None = None
        self._adapted: OrderedDict[str, tuple[int, Model]] = OrderedDict()
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_ready(self) -> bool:
        """Whether the library's model is loaded."""
        return self._own is not None

    def own(self) -> Model:
        """The library's model.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._lock:
            if self._own is None:
                self._own = load(self.spec, device=self._device, dtype=self._dtype)
            return self._own

    def get(self, name: str) -> Model:
        """A model by the name that ``names`` gives.

        Raises:
            ServeError: 404 where there is none of this name.
        """
        if name == OWN:
            return self.own()
        folder = self.place(name)
        if not _is_model(folder):
            error = f"no model {one_line(name)!r}"
            known = ", ".join(each["name"] for each in self.listing())
            raise ServeError(404, error, f"there are: {known}", "not_found")
        stamp = folder.stat().st_mtime_ns
        with self._lock:
            kept = self._adapted.get(name)
            if kept is None or kept[0] != stamp:
                kept = stamp, load(folder, device=self._device, dtype=self._dtype)
                self._adapted[name] = kept
            self._adapted.move_to_end(name)
            while len(self._adapted) > _MOST_LOADED:
                self._adapted.popitem(last=False)
            return kept[1]

    def place(self, name: str) -> Path:
        """The folder of an adapted model, which need not exist.

        Raises:
            ServeError: 400 where it cannot be a name.
        """
        if not _NAME.fullmatch(name) or name == OWN:
            error = f"{one_line(name)[:80]!r} cannot be the name of a model"
            fix = "write up to 64 letters, digits, blanks, - or _, but not 'library'"
            raise ServeError(400, error, fix, "name")
        return self._folder / name

    def listing(self) -> list[JsonDict]:
        """Names of the models, the library's own first."""
        own: JsonDict = {"name": OWN, "model": self.spec, "adapted": False}
        folders = sorted(each for each in self._folder.iterdir() if _is_model(each))
        adapted = ({"name": f.name, "model": str(f), "adapted": True} for f in folders)
        return [own, *adapted]


def _is_model(folder: Path) -> bool:
    return (folder / "vlar.json").is_file()
