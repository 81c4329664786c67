"""Fetches what a model is read from into the hub's own cache, where loaders look.

The weights come first and what the loaders look for comes last, so half a model is never taken for
a whole one. Weights whose transfer broke off go on where it stopped, in another process too. Every
file is compared with the hash that the hub states for it. Files of code are never fetched.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import json
import logging
import re
import shlex
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.encoders.base import Encoder
from vlar.encoders.catalogue import entries
from vlar.encoders.clip import options as hub
from vlar.encoders.hub_folder import COMMIT
from vlar.encoders.hub_source import Hub
from vlar.encoders.model_spec import ModelSpec
from vlar.errors import ModelError, UnknownNameError, UsageError, VlarError, explained
from vlar.files.reading import MB, parse_json, read_file
from vlar.files.resources import cache_dir, require_space
from vlar.numeric import unit
from vlar.progress import stage
from vlar.types import Clip, Float32, ProgressCallback, UInt8, Window

_log = logging.getLogger("vlar")
_PIECE = 1 << 20
_RESTRICTED = re.compile(r"\bnc\b|non-?commercial|research|own terms|apple|^other$", re.IGNORECASE)
Advance = Callable[[int], None]


def sources(name: str) -> list[Hub]:
    """Repositories that a model's name is read from; paths and what comes in packages need none.

    Args:
        name: A word of the catalogue, or what ``vlar.load`` takes; a model folder is not opened.

    Raises:
        VlarError: as ``ModelSpec.parse``; or a part does not exist.
    """
    row = entries().get(name)
    if row is not None and not row.is_encoder:
        return [Hub(row.hub_name, row.revision)]
    return [
        source
        for part in ModelSpec.parse(name).parts
        for source in registry.get(part.kind, part.name).sources(part.argument)
    ]


def ready(name: str, *wanted: Hub) -> list[Path]:
    """Folders of sources in the hub's cache; what is not there is fetched.

    Raises:
        VlarError: as ``fetch``.
    """
    missing = [source for source in wanted if source.folder() is None]
    fresh = {row.source: row.folder for row in (fetch(name, missing) if missing else ())}
    return [fresh.get(source) or source.folder() or Path() for source in wanted]


@dataclass(frozen=True)
class Listing:
    """A source, as the hub states it.

    Attributes:
        source: The source.
        commit: Commit of its revision.
        licence: Licence of the weights.
        rows: Files, weights first, what loaders look for last.
        folder: Folder of the files, also before they are there.
    """

    source: Hub
    commit: str
    licence: str
    rows: list[Any]
    folder: Path

    def __str__(self) -> str:
        return f"{self.source.repository} ({self.licence}; commit {self.commit[:12]})"

    def missing_bytes(self) -> int:
        """Bytes that a transfer has still to bring."""
        return sum(
            int(row.size or 0) - _begun(self.source, row)
            for row in self.rows
            if not (self.folder / row.rfilename).is_file()
        )


def fetch(
    name: str,
    wanted: Sequence[Hub],
    *,
    accept_licence: bool = False,
    root: Path | None = None,
) -> list[Listing]:
    """Fetch sources, or what is missing of them; everything is compared with its hash.

    Args:
        name: The model, as the user names it.
        wanted: What to fetch.
        accept_licence: Whether the user has accepted terms that restrict the use.
        root: Folder in which a source gets one of its own, named by the commit; None for the
            hub's cache.

    Returns:
        What the hub states of each; nothing without a network, where all of them are here.

    Raises:
        UsageError: terms were not accepted.
        ModelError: the hub cannot be reached or refuses, the disk is full, or a file has another
            hash than the hub states.
    """
    if not accept_licence:
        for source in wanted:
            row = source.entry
            licence = row.licence if row else source.licence
            if _RESTRICTED.search(licence) or (row and row.non_commercial):
                raise _terms(name, source, licence)
    if wanted and (why := hub.why_offline()) is not None:
        if lacking := next((row for row in wanted if row.folder() is None), None):
            raise _offline(name, lacking.repository, why)
        return []
    listings: list[Listing] = []
    for source in wanted:
        with _clear_errors(name, source, accept_licence):
            listings.append(_listed(name, source, root, accept_licence))
    n_bytes = sum(listing.missing_bytes() for listing in listings)
    for listing in listings:
        require_space(listing.folder, n_bytes, name)
    if n_bytes >= 1e6:
        size = f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
        _log.warning("fetching %s for %s: %s", size, name, ", ".join(map(str, listings)))
    with stage(f"fetching {name}", round(n_bytes / 1e6), "MB") as count:
        advance = _in_megabytes(count)
        for listing in listings:
            with _clear_errors(name, listing.source, accept_licence):
                for row in listing.rows:
                    _get(listing, row, advance, in_cache=root is None)
    return listings


def _offline(name: str, repository: str, why: str) -> ModelError:
    row = entries().get(name)
    return hub.offline(row.spec if row else name, repository, why)


def _in_megabytes(count: ProgressCallback) -> Advance:
    done = 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        before, done = done, done + n_bytes
        count(round(done / 1e6) - round(before / 1e6))

    return advance


def _terms(name: str, source: Hub, licence: str) -> UsageError:
    word = source.entry.alias if source.entry else name
    return UsageError(
        f"{word} has terms of its own: {licence} (see the card of {source.repository}); if you "
        f"accept them, run: vlar models get {shlex.quote(word)} --accept-licence"
    )


def _listed(name: str, source: Hub, root: Path | None, accept_licence: bool) -> Listing:
    from huggingface_hub import HfApi

    facts = HfApi().model_info(source.repository, revision=source.revision, files_metadata=True)
    rows = {row.rfilename: row for row in facts.siblings or ()}
    names, row = source.wanted(list(rows)), source.entry
    if source.revision and COMMIT.fullmatch(source.revision) and facts.sha != source.revision:
        raise ModelError(
            f"the hub gives commit {facts.sha} of {source.repository} for the one asked"
        )
    if not names:
        kind = " or ".join(pattern for patterns in source.weights for pattern in patterns)
        raise ModelError(
            f"{source.repository} holds no {kind or 'tokeniser'} at "
            f"{source.revision or 'its newest revision'}; {(row and row.note) or 'see its card'}"
        )
    card = facts.card_data or {}
    stated = str(card.get("license") or "")
    licence = row.licence if row else source.licence or str(card.get("license_name") or stated)
    asks = bool(facts.gated) or (source.weights and not row and _RESTRICTED.search(stated))
    if asks and root is None and not accept_licence:
        raise _terms(name, source, licence or "see its page")
    commit = str(facts.sha)
    folder = _in_cache(source) / "snapshots" / commit if root is None else root / commit
    return Listing(source, commit, licence or "no licence stated", [rows[n] for n in names], folder)


def _in_cache(source: Hub) -> Path:
    """Folder of a repository in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=source.repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE, folder)


def _get(listing: Listing, row: Any, advance: Advance, *, in_cache: bool) -> None:
    """One file, which is there already or is fetched, with the hash that the hub states."""
    from huggingface_hub import hf_hub_download

    source, path = listing.source, listing.folder / row.rfilename
    is_complete = path.is_file()
    if in_cache and row.lfs and not is_complete:
        _transfer(listing, row, advance)
    elif not is_complete:
        advance(int(row.size or 0))
    # None keeps the hub's own name of the newest commit.
    revision, folder = (source.revision, None) if in_cache else (listing.commit, listing.folder)
    hf_hub_download(source.repository, row.rfilename, revision=revision, local_dir=folder)
    if (is_complete or not row.lfs or not in_cache) and not _is_right(path, row):
        raise _wrong_hash(source, row, path, path.resolve())


def _partial(source: Hub, row: Any) -> Path:
    """The file that a transfer is written to; the hub's client leaves it alone."""
    return _in_cache(source) / "blobs" / f"{row.lfs.sha256}.vlar.incomplete"


def _begun(source: Hub, row: Any) -> int:
    """Bytes of a file that an earlier transfer left."""
    part = _partial(source, row) if row.lfs else None
    return part.stat().st_size if part is not None and part.is_file() else 0


class _Counted(io.BufferedWriter):
    """A file that counts the bytes written."""

    def __init__(self, path: Path, advance: Advance) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._advance = advance

    def write(self, data: Any) -> int:
        self._advance(len(data))
        return super().write(data)


def _transfer(listing: Listing, row: Any, advance: Advance) -> None:
    """Weights into the hub's cache; they go on where a transfer of any process broke off.

    The hub's own client begins such a file again from its start.
    """
    from filelock import FileLock
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    source, part = listing.source, _partial(listing.source, row)
    blob = part.with_name(row.lfs.sha256)
    lock = part.parents[2] / ".locks" / part.parents[1].name / f"{blob.name}.lock"
    for folder in (part.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(source.repository, row.rfilename, revision=listing.commit)
    with FileLock(lock):  # the client's own lock
        if blob.is_file():
            return
        if _begun(source, row) > row.size:
            part.unlink()  # of no file that the hub states
        with _Counted(part, advance) as stream:
            n_bytes = stream.tell()
            http_get(
                url, stream, resume_size=n_bytes, headers=build_hf_headers(), expected_size=row.size
            )  # fmt: skip
        if not _is_right(part, row):
            raise _wrong_hash(source, row, part)
        part.replace(blob)


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


def _wrong_hash(source: Hub, row: Any, *paths: Path) -> ModelError:
    """The error for a file that differs; it is removed, with what it links to in the cache."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
    return ModelError(
        f"{row.rfilename} of {source.repository} has another hash than the hub states; it is "
        "removed: run it again, and do not trust the network if it repeats"
    )


@contextmanager
def _clear_errors(name: str, source: Hub, accepted: bool) -> Generator[None]:
    """Turn an error of the hub's client into one line with the remedy; the client stays quiet."""
    from huggingface_hub import errors, utils

    repository, word = source.repository, source.entry.alias if source.entry else name
    more = " --accept-licence" if accepted else ""
    again = f"run 'vlar models get {shlex.quote(word)}{more}' again"
    client = logging.getLogger("huggingface_hub")
    before, bars_off = client.level, utils.are_progress_bars_disabled()
    client.setLevel(logging.ERROR)  # it reports every try; the last one is reported here
    utils.disable_progress_bars()  # they would be drawn over the application's
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repository} asks to accept its terms: do so on its page, run 'hf auth login' (or "
            f"set HF_TOKEN), then {again}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"the hub has no revision {source.revision!r} of {repository}; its publisher removed it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownNameError(
            f"the hub has no model {repository!r}, or it is private ('hf auth login', or HF_TOKEN)"
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise _offline(name, repository, _short(error)) from error
    except (errors.HfHubHTTPError, *network_errors()) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise ModelError(
                f"the hub refuses {repository} ({_short(error)}): is the token right? (HF_TOKEN, "
                "'hf auth login')"
            ) from error
        raise ModelError(
            f"the download of {repository} broke off after several tries ({_short(error)}); "
            f"{again}: it goes on where it stopped"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"the disk is full; make room, then {again}: it goes on where it stopped"
            ) from error
        raise ModelError(f"{repository} cannot be fetched ({_short(error)}); {again}") from error
    finally:
        client.setLevel(before)
        if not bars_off:
            utils.enable_progress_bars()


def network_errors() -> tuple[type[Exception], ...]:
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
    with explained(ModelError, f"cannot write to {str(folder)!r}"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(json.dumps({**_kept(), key: vectors}), "utf-8")


def compared_names() -> list[str]:
    """Names of the models whose vectors were kept and whose files are still in the hub's cache."""
    names: list[str] = []
    for name in (key.partition(" ")[0] for key in _kept()):
        with contextlib.suppress(VlarError):  # one that no name loads, as an adapter's
            if all(source.folder() for source in sources(name)):
                names.append(name)
    return names


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
