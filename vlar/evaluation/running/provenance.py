"""The file of a run: the figures, and everything that moves them."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from vlar import __version__, resources
from vlar.errors import ProtocolError
from vlar.evaluation.datasets.base import text_hash
from vlar.model.core import BACKGROUND_BANK, ModelCore
from vlar.safety.files import MB, read_file
from vlar.types import JsonDict

FORMAT = 1
_MOST = 256 * MB  # of a file of runs
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "onnxruntime", "open_clip_torch",
              "transformers", "av", "pillow")  # fmt: skip


def environment() -> JsonDict:
    """Versions of what computes, decodes and counts, and the machine."""
    from av import library_versions

    versions: JsonDict = {"vlar": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    ffmpeg = cast("Mapping[str, Sequence[int]]", library_versions)
    return {
        "versions": versions,
        "decoder": {k: ".".join(map(str, v)) for k, v in sorted(ffmpeg.items())},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
    }


def model_facts(core: ModelCore, spec: str) -> JsonDict:
    """What makes a vector: weights, sampling, pixels, templates, the background."""
    encoder, wanted = core.encoder, core.encoder.sampling
    pixels = encoder.preprocess
    place = resources.find("text_banks", BACKGROUND_BANK, ".json")
    return {
        "spec": spec,
        "encoder": encoder.name,
        "fingerprint": core.fingerprint,
        "device": str(getattr(encoder, "device", "cpu")),
        "dtype": str(getattr(encoder, "dtype", "float32")),
        "dim": core.dim,
        "logit_scale": encoder.logit_scale,
        "licence": encoder.licence,
        "sampling": {
            "frames": wanted.n_frames,
            "rule": "midpoints of equal segments",
            **({"fps": wanted.fps, "max_frames": wanted.max_frames} if wanted.fps else {}),
            "longest_s": wanted.longest_s if wanted.longest_s < float("inf") else None,
            "shorter_side": wanted.shorter_side,
        },
        "pixels": pixels and {
            "height": pixels.height, "width": pixels.width, "crop": pixels.fit,
            "mean": list(pixels.mean), "std": list(pixels.std),
        },
        "templates": {"set": core.template_set, "texts": list(core.prompts)},
        "background": {"bank": BACKGROUND_BANK, "sha256": text_hash(place)},
    }  # fmt: skip


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def peak_bytes() -> int:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def write_runs(file: Path, runs: Sequence[JsonDict], skipped: Sequence[JsonDict] = ()) -> None:
    """Write runs as one JSON file.

    Args:
        file: Where.
        runs: Of ``run_card``.
        skipped: Cards that gave no run, each with ``card`` and ``error``.

    Raises:
        ProtocolError: it cannot be written.
    """
    content = {"format": FORMAT, "runs": list(runs), "skipped": list(skipped)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise ProtocolError(f"{file}: cannot be written ({error.strerror})") from error


def read_skipped(file: Path) -> list[JsonDict]:
    """The cards of a file, which ``read_runs`` accepts, that gave no run."""
    return json.loads(read_file(file, _MOST)).get("skipped", [])


def read_runs(file: Path) -> list[JsonDict]:
    """The runs of a file.

    Raises:
        ProtocolError: it cannot be read, or was written by another version.
    """
    try:
        content: Any = json.loads(read_file(file, _MOST))
    except OSError as error:
        raise ProtocolError(
            f"{file}: cannot be read ({error.strerror}); give a run's file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{file}: not valid JSON ({error})") from error
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT or not isinstance(content.get("runs"), list):
        raise ProtocolError(
            f"{file}: a run of format {version!r}, and this version of vlar reads format {FORMAT}; "
            "run the protocol again, or use the version that wrote it"
        )
    needed = {"card", "protocol", "figures", "moves"}
    for run in content["runs"]:
        if not isinstance(run, dict) or needed - run.keys():
            raise ProtocolError(f"{file}: a run without {', '.join(sorted(needed))}; run it again")
    return content["runs"]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((s.partition(":")[2].strip() for s in lines if s.startswith("model name")), "")
