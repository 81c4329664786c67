"""Shared back ends of generators: models in folders, kept answers, questions at once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from vlar.encoders.spec import missing_library
from vlar.errors import ModelError, UsageError, VlarError
from vlar.files import checkpoints, resources
from vlar.files.reading import folder_stamp
from vlar.files.replacing import replacing
from vlar.types import JsonDict

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalModel:
    """A model of transformers in a folder, which is loaded at its first use.

    Args:
        folder: As ``save_pretrained`` wrote it, with its tokeniser or processor.
        classes: Names of both classes: of the tokeniser or processor, and of the model.
        what: Names the model in messages, such as "speech model".
        advice: What to give in place of a folder that cannot be loaded.
        error: Error of a folder that cannot be loaded.
        device: Where it computes, such as ``cuda``; None for the CPU.
        chats: Whether a folder without a chat template is refused.
        options: Further arguments of ``from_pretrained`` of the model.

    Attributes:
        digest: Hash of the folder's files.
    """

    def __init__(
        self,
        folder: Path,
        classes: tuple[str, str],
        what: str,
        advice: str,
        *,
        error: type[VlarError] = ModelError,
        device: str | None = None,
        chats: bool = False,
        **options: Any,
    ) -> None:
        self.folder, self.digest, self._lock = folder, folder_stamp(folder), threading.Lock()
        self._classes, self._device, self._chats = classes, device or "cpu", chats
        self._what, self._advice, self._error, self._options = what, advice, error, options
        self._loaded: tuple[Any, Any] | None = None

    @contextlib.contextmanager
    def use(self, failed: Callable[[str, str], VlarError]) -> Generator[tuple[Any, Any]]:
        """The tokeniser or processor, and the model, for one question at a time, without gradients.

        Args:
            failed: Makes the error from the name of the model and the reason why it fails.

        Raises:
            VlarError: the folder cannot be loaded, or that of ``failed``.
        """
        with self._lock:
            loaded = self._loaded = self._loaded or self._load()
            import torch

            try:
                with torch.inference_mode():
                    yield loaded
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
                name = f"the {self._what} in {str(self.folder)!r}"
                raise failed(name, one_line(error)[:200]) from error

    def _load(self) -> tuple[Any, Any]:
        folder = str(self.folder)
        # A folder of weights is data: its Python files never run, and nothing asks on stdin.
        options: JsonDict = {"local_files_only": True, **checkpoints.data_only()}
        try:
            transformers = importlib.import_module("transformers")
            reader_class, model_class = (getattr(transformers, name) for name in self._classes)
            reader: Any = reader_class.from_pretrained(folder, **options)
            model: Any = model_class.from_pretrained(folder, **self._options, **options)
            if self._chats and not getattr(reader, "chat_template", None):
                raise ValueError("it has no chat template, so it is not a model for questions")  # noqa: TRY301
            return reader, model.to(self._device).eval()
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            why = one_line(error)
            if isinstance(error, ImportError) and (missing := missing_library("it", error)):
                why = missing.message
            if "trust_remote_code" in why:
                why = "it wants to run code that comes with the weights; vlar never does"
            raise self._error(
                f"the {self._what} in {folder!r} cannot be loaded ({why[:300]}); {self._advice}"
            ) from error


def chat_inputs(reader: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """Inputs of a model for a conversation, by the chat template of its tokeniser or processor."""
    return reader.apply_chat_template(
        list(messages),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        **options,
    )


def model_folder(spec: str, place: str, what: str = "a model", reader: str = "processor") -> Path:
    """The folder of a spec.

    Raises:
        UsageError: it is not a folder with a model.
    """
    folder = Path(place).expanduser()
    if not place or not (folder / "config.json").is_file():
        raise UsageError(
            f"{spec}{place} is not a folder with {what} (config.json, weights, {reader}); give a "
            "folder that transformers saved"
        )
    return folder


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
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as part:
            part.write_bytes(json.dumps(data).encode())


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, name: str
) -> Iterator[tuple[Item, Result]]:
    """Each item with the result of a function, in the order in which the results come.

    Daemon threads and not a pool: a pool would keep an interrupted program alive until its last
    question is answered. What the function raises is raised here.

    Args:
        work: Called in the threads.
        items: In the order in which they are begun.
        workers: Threads; one item or one worker needs none.
        name: Name of the threads.
    """
    if min(workers, len(items)) <= 1:
        yield from ((item, work(item)) for item in items)
        return
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Item, Result] | BaseException] = queue.SimpleQueue()
    stopped = threading.Event()
    for item in items:
        waiting.put(item)

    def run() -> None:
        while not stopped.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results.put((item, work(item)))
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it again
                results.put(error)

    for number in range(min(workers, len(items))):
        threading.Thread(target=run, name=f"{name}-{number}", daemon=True).start()
    try:
        for _ in items:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()
