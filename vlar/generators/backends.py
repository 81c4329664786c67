"""Shared back ends of generators: models in folders, kept answers, questions at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from vlar.errors import VlarError
from vlar.files import resources
from vlar.files.reading import folder_stamp
from vlar.types import JsonDict

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalModel:
    """A model of transformers in a folder, which is loaded at its first use.

    Args:
        folder: As ``save_pretrained`` wrote it, with its tokeniser or processor.
        classes: Imports the classes of both: of the tokeniser or processor, and of the model.
        failed: Makes the error from the reason why the folder cannot be loaded.
        device: Where it computes, such as ``cuda``; None for the CPU.
        chats: Whether a folder without a chat template is refused.
        options: Further arguments of ``from_pretrained`` of the model.

    Attributes:
        digest: Hash of the folder's files.
        lock: Held while the model is used: one question at a time.
    """

    def __init__(
        self,
        folder: Path,
        classes: Callable[[], tuple[Any, Any]],
        failed: Callable[[str], VlarError],
        *,
        device: str | None = None,
        chats: bool = False,
        **options: Any,
    ) -> None:
        self.folder, self.digest, self.lock = folder, folder_stamp(folder), threading.Lock()
        self._classes, self._failed, self._device = classes, failed, device or "cpu"
        self._chats, self._options = chats, options
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The tokeniser or processor, and the model.

        Raises:
            VlarError: that of ``failed``.
        """
        if self._loaded is None:
            reader_class, model_class = self._classes()
            place = str(self.folder)
            # A folder of weights is data: its Python files never run, and nothing asks on stdin.
            options: JsonDict = {"local_files_only": True, "trust_remote_code": False}
            try:
                reader: Any = reader_class.from_pretrained(place, **options)
                model: Any = model_class.from_pretrained(place, **self._options, **options)
                if self._chats and not getattr(reader, "chat_template", None):
                    raise ValueError("it has no chat template, so it is not a model for questions")  # noqa: TRY301
                model = model.to(self._device).eval()
            except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
                why = one_line(error)
                if "trust_remote_code" in why:
                    why = "it wants to run code that comes with the weights; vlar never does"
                raise self._failed(why) from error
            self._loaded = reader, model
        return self._loaded


def one_line(error: Exception) -> str:
    """The message of a library's error in one line."""
    return " ".join(str(error).split())


def kept_place(folder: str, facts: Sequence[Any]) -> Path:
    """File of the cache for an answer, by the hash of everything that the answer depends on."""
    key = json.dumps(facts, sort_keys=True)
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return resources.cache_dir() / folder / name[:2] / f"{name[:40]}.json"


def read_kept(path: Path) -> JsonDict | None:
    """An answer that was kept; None where there is none that can be read."""
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return cast("JsonDict", data) if isinstance(data, dict) else None


def keep(path: Path, data: JsonDict) -> None:
    """Keep an answer. A cache that cannot be written costs a question, never the answer."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(data).encode())
        temporary.replace(path)


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, name: str
) -> Iterator[tuple[Item, Result]]:
    """Each item with the result of a function, in the order in which the results come.

    Daemon threads and not a pool: a pool would keep an interrupted program alive until its last
    question is answered.

    Args:
        work: Called in the threads; it must not raise.
        items: In the order in which they are begun.
        workers: Threads.
        name: Of the threads.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Item, Result]] = queue.SimpleQueue()
    stopped = threading.Event()
    for item in items:
        waiting.put(item)

    def run() -> None:
        while not stopped.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            results.put((item, work(item)))

    for number in range(workers):
        threading.Thread(target=run, name=f"{name}-{number}", daemon=True).start()
    try:
        for _ in items:
            yield results.get()
    finally:
        stopped.set()
