"""Fetches a model of the catalogue from the hub into the hub's own cache, where loaders look.

The weights come first and what the loaders look for comes last, so half a model is never taken for
a whole one. A connection that breaks off is taken up again where it stopped. Every file is compared
with the hash that the hub states for it. Files of code are never fetched.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.catalogue import CatalogueEntry
from vlar.encoders.clip import options as hub
from vlar.encoders.hub_folder import COMMIT, PREFIX
from vlar.encoders.model_spec import MODEL_MANIFEST
from vlar.errors import ModelError, UsageError
from vlar.files.reading import MB, parse_json, read_file
from vlar.files.resources import cache_dir, require_space
from vlar.numeric import unit
from vlar.types import Clip, Float32, UInt8, Window

_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja", "merges.txt", "*.tiktoken")
#: The first kind of which a repository has a file is fetched, the others are not.
_WEIGHTS = {
    "openclip": (("open_clip_model.safetensors",), ("open_clip_pytorch_model.bin",)),
    "other": (("*.safetensors",), ("pytorch_model*.bin",)),
}
_PIECE = 1 << 20
Count = Callable[[int], None]


def fetch(
    entry: CatalogueEntry,
    *,
    accept_licence: bool = False,
    begin: Count | None = None,
    count: Count | None = None,
    root: Path | None = None,
) -> Path:
    """Fetch a model that is not on this disk, or what is missing of it.

    Args:
        entry: What to fetch.
        root: Folder in which a model folder gets one of its own, named by the commit; None for the
            hub's cache.
        accept_licence: Whether the user has accepted its terms.
        begin: Called once with the bytes that will be fetched.
        count: Called with the bytes of each piece.

    Returns:
        The folder of the files.

    Raises:
        UsageError: its terms were not accepted.
        ModelError: the hub cannot be reached or refuses, the disk is full, or a file has another
            hash than the hub states.
    """
    if entry.asks_for_licence and not accept_licence:
        terms = "for non-commercial use" if entry.non_commercial else "with terms of its own"
        raise UsageError(
            f"{entry.alias} is {terms}: {entry.licence} (see the card of {entry.hub_name}); if you "
            f"accept it, run: vlar models get {entry.alias} --accept-licence"
        )
    if (why := hub.why_offline()) is not None:
        raise hub.offline(entry.spec, entry.hub_name, why)
    with _clear_errors(entry):
        commit, files = _listed(entry)
        folder = root and root / commit
        return _fetched(entry, commit, files, begin or _ignored, count or _ignored, folder)


def _ignored(_: int) -> None:
    pass


def _listed(entry: CatalogueEntry) -> tuple[str, list[Any]]:
    """The commit and the files to fetch, weights first, what loaders look for last."""
    from huggingface_hub import HfApi

    facts = HfApi().model_info(entry.hub_name, revision=entry.revision, files_metadata=True)
    files = wanted([row.rfilename for row in facts.siblings or ()], entry)
    if entry.revision and COMMIT.fullmatch(entry.revision) and facts.sha != entry.revision:
        raise ModelError(f"the hub gives commit {facts.sha} of {entry.hub_name} for the one asked")
    if not files:
        kind = "model folder (vlar.json)" if _is_folder(entry) else "weights (safetensors)"
        raise ModelError(
            f"{entry.hub_name} holds no {kind} that vlar reads at "
            f"{entry.revision or 'its newest revision'}; {entry.note or 'see its card'}"
        )
    rows = {row.rfilename: row for row in facts.siblings or ()}
    return str(facts.sha), [rows[name] for name in files]


def wanted(names: Sequence[str], entry: CatalogueEntry) -> list[str]:
    """Files of a repository that a model needs, weights first and ``config.json`` last.

    Returns:
        Their names; empty where the repository has no weights.
    """
    if _is_folder(entry):  # its card and its arrays, and what it is known by last
        files = sorted(n for n in names if n.endswith((".safetensors", ".md")) and "/" not in n)
        return [*files, MODEL_MANIFEST] if MODEL_MANIFEST in names else []
    family = "openclip" if entry.spec.startswith("openclip:") else "other"
    kinds = ([n for n in names if _any(n, patterns)] for patterns in _WEIGHTS[family])
    weights = next(filter(None, kinds), [])
    if family == "other":
        weights = [n for n in weights if not n.startswith(("open_clip", "onnx/", "original/"))]
    settings = [n for n in names if _any(n, _SETTINGS) and n not in weights]
    if not weights:
        return []
    return sorted(weights) + sorted(settings, key=lambda n: (n == "config.json", n))


def _is_folder(entry: CatalogueEntry) -> bool:
    return entry.spec.startswith(PREFIX)


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _fetched(
    entry: CatalogueEntry,
    commit: str,
    files: list[Any],
    begin: Count,
    count: Count,
    folder: Path | None,
) -> Path:
    from huggingface_hub import constants, hf_hub_download

    def is_here(name: str) -> bool:
        if folder is not None:
            return (folder / name).is_file()
        return hub.cached(entry.hub_name, (name,), commit) is not None

    n_bytes = sum(int(row.size or 0) for row in files if not is_here(row.rfilename))
    require_space(folder or Path(constants.HF_HUB_CACHE), n_bytes, entry.alias)
    begin(n_bytes)
    bar = _counting(count)
    paths: list[Path] = []
    # None keeps the hub's own name of the newest commit.
    revision = commit if folder is not None or entry.revision else None
    for row in files:
        path = hf_hub_download(
            entry.hub_name, row.rfilename, revision=revision, tqdm_class=bar, local_dir=folder
        )
        paths.append(Path(path))
        if not _is_right(Path(path), row):
            _remove(paths)
            raise ModelError(
                f"{row.rfilename} of {entry.hub_name} has another hash than the hub states; what "
                "was fetched is removed: run it again, and do not trust the network if it repeats"
            )
    return paths[-1].parent


def _is_right(path: Path, row: Any) -> bool:
    """Return whether a file has the SHA-256 that the hub states, or the git hash of a small one."""
    if row.lfs is not None:
        return row.lfs.sha256 == _hash(path, hashlib.sha256())
    if row.blob_id is None:
        return True
    start = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    return row.blob_id == _hash(path, start)


def _hash(path: Path, digest: Any) -> str:
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return str(digest.hexdigest())


def _remove(paths: Sequence[Path]) -> None:
    """The files and what they link to in the cache."""
    for path in paths:
        blob = path.resolve()
        for one in {path, blob}:
            with contextlib.suppress(OSError):
                one.unlink()


def _counting(count: Count) -> Any:
    """A silent progress bar for the hub's client that passes its steps on."""
    from tqdm import tqdm

    class Counting(tqdm):  # pyright: ignore[reportMissingTypeArgument]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})
            count(int(options.get("initial") or 0))  # resumed: the first part was there

        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

    return Counting


@contextmanager
def _clear_errors(entry: CatalogueEntry) -> Generator[None]:
    """Turn an error of the hub's client into one line with the remedy."""
    from huggingface_hub import errors

    name, again = entry.hub_name, f"run 'vlar models get {entry.alias}' again"
    client = logging.getLogger("huggingface_hub")
    before = client.level
    client.setLevel(logging.ERROR)  # it reports every try; the last one is reported here
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{name} asks to accept its terms: do so on its page, run 'hf auth login', then "
            f"{again} with --accept-licence"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"the hub has no revision {entry.revision!r} of {name}; its publisher removed it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {name!r}, or it is private ('hf auth login')"
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise hub.offline(entry.spec, name, _short(error)) from error
    except (errors.HfHubHTTPError, *_network_errors()) as error:
        raise ModelError(
            f"the download of {name} broke off after several tries ({_short(error)}); {again}: "
            "files that are whole are not fetched again, and half a file was not kept"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"the disk is full; make room, then {again}; half a file was not kept"
            ) from error
        raise ModelError(f"{name} cannot be fetched ({_short(error)}); {again}") from error
    finally:
        client.setLevel(before)


def _network_errors() -> tuple[type[Exception], ...]:
    """Errors of the library under the hub's client; that library differs by version."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = (base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception))
    under = (base for base in bases if base.__name__ in ("HTTPError", "RequestException"))
    return (ConnectionError, TimeoutError, *under)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


SENTENCE = "a person rides a bicycle and waves one hand"
LEAST_COSINE = 0.999
_FILE = "verified.json"
_SIDE, _SQUARE = 64, 20


def clip_frames(n_frames: int) -> UInt8:
    """The clip: (T, 64, 64, 3) uint8, the same on every machine.

    >>> int(clip_frames(4).sum())
    5054064
    """
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    ramp = np.stack([rows * 2, columns * 3, (rows + columns) * 2], axis=-1).astype(np.uint8)
    frames = np.repeat(ramp[None], n_frames, axis=0)
    for number, frame in enumerate(frames):
        x = number * (_SIDE - _SQUARE) // max(1, n_frames - 1)
        frame[_SQUARE : 2 * _SQUARE, x : x + _SQUARE] = (250, 220, 60)
    return frames


def embedded(encoder: Encoder) -> dict[str, Float32]:
    """The vectors of the clip and of the sentence, by name."""
    times_s = np.arange(encoder.n_frames) / 8
    window = Window(0.0, float(times_s[-1]) + 0.125)
    clip = Clip(Path("square"), window, "video", clip_frames(encoder.n_frames), times_s)
    (row,) = encoder.encode([clip])
    return {"clip": row.vector, "sentence": encoder.encode_text([SENTENCE])[0]}


def stored(encoder: Encoder) -> dict[str, Float32] | None:
    """The vectors that were stored for a model and its blocks; None for a model never stored."""
    entry = _packaged().get(_key(encoder)) or _kept().get(_key(encoder))
    if entry is None:
        return None
    try:
        return {name: _decoded(entry[name]) for name in ("clip", "sentence")}
    except (KeyError, TypeError, ValueError):
        return None


def row(encoder: Encoder) -> tuple[str, dict[str, str]]:
    """The key and the vectors of a model, as they are stored."""
    return _key(encoder), {name: _encoded(vector) for name, vector in embedded(encoder).items()}


def keep(encoder: Encoder) -> None:
    """Store the vectors of a model that was just fetched.

    Raises:
        ModelError: the cache cannot be written.
    """
    key, vectors = row(encoder)
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(json.dumps({**_kept(), key: vectors}), "utf-8")
    except OSError as error:
        raise ModelError(f"cannot write to {str(folder)!r} ({error.strerror})") from error


def compare(encoder: Encoder) -> float | None:
    """The least cosine of the vectors to those stored; None where none are.

    Raises:
        ModelError: it is below ``LEAST_COSINE``.
    """
    before = stored(encoder)
    if before is None:
        return None
    now = embedded(encoder)
    cosines = {
        name: float(unit(now[name]) @ unit(before[name]))
        if now[name].shape == before[name].shape
        else 0.0
        for name in now
    }
    name, least = min(cosines.items(), key=lambda pair: pair[1])
    if least < LEAST_COSINE:
        raise ModelError(
            f"{encoder.name} answers otherwise than when its vectors were stored: cosine "
            f"{least:.4f} for the {name}; fetch it again, or reinstall what runs it"
        )
    return least


def _key(encoder: Encoder) -> str:
    return f"{encoder.name} {' '.join(block.name for block in encoder.blocks)}"


def _packaged() -> dict[str, Any]:
    return json.loads((files("vlar.encoders") / _FILE).read_text("utf-8"))


def _kept() -> dict[str, Any]:
    try:
        entries = parse_json(read_file(cache_dir() / _FILE, 16 * MB))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _encoded(vector: Float32) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def _decoded(text: str) -> Float32:
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)
