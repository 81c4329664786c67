"""Settings of an ``add`` that a library fixes: windows, shots, people, and what it keeps of them.

A new library takes those of its first ``add``; later ones must be the same, or leave them out.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from vlar.errors import LibraryError, UsageError
from vlar.library.ingest.request import AddRequest
from vlar.library.manifest import LibraryManifest
from vlar.library.records import BODIES_BYTES, BYTES_A_WINDOW, FEWEST_FRAMES, KEPT_KINDS
from vlar.library.store.row_check import MOST_SECONDS
from vlar.media.lookup import reader
from vlar.media.shots import require_shots

_log = logging.getLogger("vlar")
_SHORTEST_S = 1e-3


def settled(
    manifest: LibraryManifest, request: AddRequest, folder: object, *, is_new: bool
) -> LibraryManifest:
    """The manifest with the settings of a request, which an earlier library must have already.

    Args:
        manifest: The library's; of a new one, with the default windows.
        request: The settings; None leaves the library's.
        folder: The library, for messages.
        is_new: Whether the library has no rows yet.

    Raises:
        LibraryError: the library has other windows or other rows of people.
        UsageError: a span of time or a choice is not usable.
        UnknownNameError: no detector has this name.
        ModelError: the network that finds shots or people is not installed.
    """
    for name in ("window_s", "stride_s"):
        span_s = getattr(request, name)
        if span_s is not None and not _SHORTEST_S <= span_s < MOST_SECONDS:
            raise UsageError(f"{name} is {span_s}; give a number of seconds from {_SHORTEST_S}")
    if request.long_times is not None and not 1.0 <= request.long_times <= 100.0:
        raise UsageError(f"long_times is {request.long_times}; give a number from 1 to 100")
    choices = {
        name: getattr(request, name) for name in ("window_s", "stride_s", "long_times", "shots")
    }
    chosen = {name: value for name, value in choices.items() if value is not None}
    spec = replace(manifest.spec, **chosen)
    if is_new:
        manifest = replace(manifest, spec=spec, persons=_detector(manifest, request))
    elif spec != manifest.spec:
        raise _other_windows(manifest, folder)
    else:
        _require_people(manifest, request, folder)
    if spec.shots:
        require_shots(reader(manifest.modality))
    check_keep(request.keep, manifest, to_shards=request.shards is not None)
    return manifest


def _other_windows(manifest: LibraryManifest, folder: object) -> LibraryError:
    spec = manifest.spec
    return LibraryError(
        f"library {folder} was made with windows of {spec.window_s:g} s every "
        f"{spec.stride_s:g} s, and windows {spec.long_times:g} times as long, "
        f"{'cut at' if spec.shots else 'whatever'} the shots; use "
        f"--window {spec.window_s:g}s --stride {spec.stride_s:g}s "
        f"--long-windows {spec.long_times:g}{' --shots' if spec.shots else ''}, or make a new "
        "library"
    )


def _detector(manifest: LibraryManifest, request: AddRequest) -> str:
    """Detector of people of a new library; empty for none."""
    from vlar.people.base import load_detector

    if not request.persons:
        if request.detector is not None:
            raise UsageError(
                f"detector {request.detector!r} finds people, and none are asked for; give "
                "persons=True too"
            )
        return ""
    if manifest.modality != "video":
        raise UsageError(
            f"persons=True needs video, and model {manifest.model!r} reads {manifest.modality}; "
            "leave it out"
        )
    spec = request.detector or _default_detector()
    load_detector(spec)  # a mistake shows before anything is read
    return spec


def _default_detector() -> str:
    """``pose``, or ``motion`` where its networks were never fetched, as for ``--who``."""
    from vlar.pose import networks

    if networks.is_installed():
        return "pose"
    _log.info(
        "people are found by their movement alone, also later in this library; 'vlar models get "
        "lite-motion' before it is made finds bodies"
    )
    return "motion"


def _require_people(manifest: LibraryManifest, request: AddRequest, folder: object) -> None:
    """Refuse another choice than the library's.

    A detector that is a path is only opened where the user names it: a library may come from
    anybody.
    """
    detector, own = request.detector, manifest.persons
    if request.persons not in (None, bool(own)):
        how = "without rows of people; leave persons out"
        if own:
            how = "with rows of people; leave persons=False out"
        raise LibraryError(f"library {folder} was made {how}, or make a new library")
    if detector is not None and detector != own:
        advice = "without rows of people; leave detector out"
        if own:
            advice = f"with detector {own!r}; use it"
        raise LibraryError(f"library {folder} was made {advice}, or make a new library")
    if ":" in own and detector is None:
        raise UsageError(
            f"library {folder} finds people with {own!r:.200}, a path that only you can "
            f"allow; give detector {own:.200}"
        )


def check_keep(keep: str, manifest: LibraryManifest, *, to_shards: bool) -> None:
    """Refuse to keep what cannot be kept, and state its size before.

    Raises:
        UsageError: an unknown choice, another sensor, Parquet files, or bodies cannot be followed.
    """
    if keep not in KEPT_KINDS:
        raise UsageError(f"keep is {keep!r:.40}; give 'records', 'frames' or 'none'")
    if keep == "none":
        return
    spec = manifest.spec
    if manifest.modality != "video" or to_shards:
        what = "in Parquet files" if to_shards else f"of {manifest.modality}"
        raise UsageError(f"no {keep} can be kept {what}; leave --keep out")
    if keep == "records":
        _require_bodies(manifest)
    size = BYTES_A_WINDOW + (BODIES_BYTES if keep == "records" else 0)
    hour = size * 3600 / spec.stride_s / 1e6
    what = "small pictures" if keep == "frames" else "small pictures, bodies and classes"
    _log.info(
        "%s of each window are kept: some %.0f kB a window, %.0f MB an hour of video",
        *(what, size / 1e3, hour),
    )


def _require_bodies(manifest: LibraryManifest) -> None:
    from vlar.pose import networks

    n_frames = manifest.spec.sampling.n_frames
    if n_frames < FEWEST_FRAMES:
        raise UsageError(
            f"model {manifest.model!r} reads {n_frames} frames of a window, and bodies are "
            f"followed from {FEWEST_FRAMES}; give --keep frames"
        )
    if not networks.is_installed():
        raise UsageError(
            "bodies are followed by the networks of lite-motion, which are not installed; run "
            f"'vlar models get {networks.NAME}', or give --keep frames"
        )
