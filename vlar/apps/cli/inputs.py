"""Parsed input of the user: paths, spans of time, ``key=value`` pairs, devices, models."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlar import registry
from vlar.apps.cli import output
from vlar.errors import ModelError, UsageError
from vlar.version import is_installed, pip_install

if TYPE_CHECKING:
    from vlar.language.concept import Concept
    from vlar.library.ingest.runners.base import Runner
    from vlar.media.base import Reader
    from vlar.media.bundle import BundlePart
    from vlar.model.model import Model
    from vlar.types import Failure

#: Called with each model that a verb loads; a record of its answer (``--receipt``) is one.
model_watchers: list[Callable[[Model], None]] = []
_PHOTO = re.compile(r"(img|dsc[nf]?|pxl|mvi|dji|gopr)[_-]?\d", re.IGNORECASE)  # names by cameras
_NEVER_VIDEOS = ("skeleton", "imu", "depth", "events")  # sensors whose recordings no video holds


def seconds(text: str, option: str) -> float:
    """A span of time in seconds: ``4``, ``4s``, ``500ms``, ``1.5m``.

    >>> seconds("500ms", "--every")
    0.5

    Raises:
        UsageError: not a positive span.
    """
    from vlar.language.clean import read_seconds

    value = read_seconds(text)
    if value is None or value <= 0:
        raise UsageError(f"{option} {text!r} is not a span of time; write for example 4s or 500ms")
    return value


def span(text: str | None, option: str) -> tuple[float, float] | None:
    """Start and end of an interval in seconds: ``2s-4s``; None for None.

    >>> span("2s-500ms", "--at"), span("1m-1.5m", "--at")
    ((2.0, 0.5), (60.0, 90.0))

    Raises:
        UsageError: it is not two times.
    """
    from vlar.language.clean import read_seconds

    if text is None:
        return None
    start_s, end_s = (read_seconds(part.strip()) for part in text.partition("-")[::2])
    if start_s is None or end_s is None:
        raise UsageError(f"{option} {text!r} is not an interval; write for example 2s-4s")
    return start_s, end_s


def beside(paths: Sequence[str], given: Sequence[str], modality: str) -> Reader | None:
    """The reader of one recording and those of ``--with`` as a bundle; None without any.

    Raises:
        UsageError: several paths, a sensor that comes twice or does not exist, or a model of one
            sensor.
    """
    if not given:
        return None
    from vlar.media.bundle import BundlePart
    from vlar.media.lookup import reader, reader_for
    from vlar.media.readers.bundle import HeldBundle

    if len(paths) != 1:
        raise UsageError(
            f"--with adds a sensor to one PATH, and {len(paths)} are given; write a table of them, "
            "and run: vlar bundle rows.csv --out DIR"
        )
    if modality != "bundle":
        raise UsageError(
            f"--with needs a model of several sensors, and this one reads {modality!r}; use for "
            "example --model bundle:skeleton+imu"
        )
    first = reader_for(paths[0]).modality
    parts = {first: BundlePart(Path(paths[0]))}
    for sensor, path in pairs(given, "--with").items():
        if reader(sensor).modality in parts:
            raise UsageError(
                f"{paths[0]} is of the sensor {sensor!r} too; give another with --with"
            )
        parts[sensor] = _placed(path)
    return HeldBundle(parts)


def _placed(text: str) -> BundlePart:
    """A file, with its place in time where one is given: ``b.mat@0.12s``, ``b.mat@share``."""
    from vlar.language.clean import read_seconds
    from vlar.media.bundle import SHARE, BundlePart

    path, separator, location = text.rpartition("@")
    if separator and location == SHARE:
        return BundlePart(Path(path), by_share=True)
    offset_s = read_seconds(location.removeprefix("-")) if separator else None
    if offset_s is None:
        return BundlePart(Path(text))
    return BundlePart(Path(path), -offset_s if location.startswith("-") else offset_s)


def runner(spec: str | None, device: str | None = None) -> Runner | None:
    """The runner of ``--runner NAME:ARGUMENT``; None for this process.

    Raises:
        UsageError: its argument or the device is not usable.
    """
    if spec is None:
        return None
    name = registry.PartSpec.parse(spec)
    return registry.get("runner", name.name).from_spec(name.argument, device)


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``key=value`` texts as a dict.

    >>> pairs(["place=gym", "day=3"], "--tag")
    {'place': 'gym', 'day': '3'}

    Raises:
        UsageError: a text has no ``=`` or no key, or a key comes twice with two values.
    """
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{option} {text!r} is not key=value; write for example place=gym")
        if result.setdefault(key, value) != value:
            raise UsageError(f"{option} gives {key!r} twice, {result[key]!r} and {value!r}")
    return result


def recordings(paths: Sequence[str], modality: str | None) -> tuple[list[Path], list[Failure]]:
    """Files as given and the recordings inside folders; a folder without any is a failure.

    Args:
        paths: As typed.
        modality: The sensor whose recordings folders are searched for; None for any sensor.
    """
    from vlar.media.bundle import ENDING
    from vlar.media.lookup import find
    from vlar.media.video.files import VIDEO_ENDINGS, frame_files
    from vlar.types import Failure

    files: dict[Path, None] = {}
    failures: list[Failure] = []
    for text in paths:
        inside, wrong = find([text], modality), ""
        if modality in _NEVER_VIDEOS and Path(text).suffix.lower() in VIDEO_ENDINGS:
            wrong = (
                f"a video, and the model reads recordings of the sensor {modality!r}; choose a "
                "model of videos, such as --model lite"
            )
        elif modality not in (None, "bundle") and text.lower().endswith(ENDING):
            wrong = (
                f"a bundle, and the model reads the sensor {modality!r}; use for example --model "
                f"bundle:{modality}"
            )
        if wrong:
            failures.append(Failure(Path(text), "sensor", f"{text}: {wrong}"))
            continue
        files.update(dict.fromkeys(inside))
        if not inside:
            kind = modality or "recording"
            message = f"{text}: no {kind} in this folder; give a folder that holds {kind} files"
            failures.append(Failure(Path(text), f"no_{kind}", message))
    seen = files if modality in (None, "video") else ()
    folders = [path for path in seen if any(_PHOTO.match(p.name) for p in frame_files(path))]
    for path in folders[:1]:
        more = f" ({len(folders)} such folders)" if len(folders) > 1 else ""
        output.note(
            f"vlar: {path}: its {len(frame_files(path))} numbered pictures are one clip, 25 a "
            f"second{more}; for photos one by one, give the files"
        )
    return list(files), failures


def absent(paths: Sequence[str]) -> list[Failure]:
    """A failure for each path where nothing is, found before a model is loaded."""
    from vlar.errors import DecodeError
    from vlar.media.video.files import require_readable
    from vlar.types import Failure

    failures: list[Failure] = []
    for path in map(Path, paths):
        if path.exists():
            continue
        try:
            require_readable(path)
        except DecodeError as error:
            failures.append(Failure(path, error.kind, error.message))
    return failures


def all_absent(paths: Sequence[str] | None) -> list[Failure]:
    """A failure for each path where none of them can be read; none for a stream or an address.

    As metadata of an argument, ``Annotated[list[str], all_absent]``, it runs before the verb.
    """
    from vlar.media.video.live import is_live

    if not paths or is_live(paths[0]) or any("://" in path for path in paths):
        return []
    failures = absent(paths)
    return failures if len(failures) == len(paths) else []


def require_support(sources: str | Sequence[str] | None) -> None:
    """Refuse a support set that does not exist; as metadata of an argument, before the verb runs.

    Raises:
        SupportError: neither a folder nor a file has this path; an address is left to its reader.
    """
    from vlar.heads.support import no_source

    for source in [sources] if isinstance(sources, str) else sources or ():
        if ":" not in source and not Path(source).exists():
            raise no_source(Path(source))


def load_model(
    spec: str, device: str | None, dtype: str | None, library: str | None = None
) -> Model:
    """The model of a name, on a device and in a precision; None leaves them to the model.

    That of a library keeps the library's precision.
    """
    from vlar.model.model import load

    require_torch(spec)
    if library is not None and dtype is None:
        from vlar.library.library import Library
        from vlar.library.model_provider import in_type_of

        with Library(library) as opened:
            spec, dtype = in_type_of(spec, opened.info().model)
    model = load(spec, device=device, dtype=dtype)
    for watch in model_watchers:
        watch(model)
    return model


def require_torch(spec: str) -> None:
    """Refuse a model of the catalogue that needs torch where that is not installed.

    Raises:
        ModelError: it is; the message names both of its needs, the library and the weights.
    """
    from vlar.encoders.catalogue import entries

    row = None if is_installed("torch") else entries().get(spec.partition("+")[0])
    if row is not None and row.hub_name:
        raise ModelError(
            f"{spec} needs torch and {output.file_size(row.download_mb * 1e6)} of weights, and "
            f"torch is not installed: {pip_install('clip')} && vlar models get {row.alias}"
        )


def concepts(library: str | None) -> Mapping[str, Concept] | None:
    """The concepts of the library of ``--concepts``; None for None."""
    if library is None:
        return None
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        return opened.concepts


def own_model(library: str) -> str:
    """The name of the model that made a library; that of the default where it is empty or new.

    Raises:
        ModelError: the library names a path that the user has not named.
    """
    from vlar.library.library import Library
    from vlar.library.model_provider import DEFAULT_MODEL, require_named

    with Library(library) as opened:
        facts = opened.info()
        if facts.model is None:
            return DEFAULT_MODEL
        require_named(opened.path, facts.model, facts.fingerprint)
        return facts.model
