"""``vlar doctor``: is this installation whole?"""

from __future__ import annotations

import io
import platform
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

from vlar import registry
from vlar.apps.cli import output
from vlar.errors import UsageError, VlarError
from vlar.files import resources
from vlar.formatting import counted
from vlar.options import Option
from vlar.version import __version__, is_installed, package_fault, pip_install

if TYPE_CHECKING:
    from vlar.encoders.base import Encoder

CODECS = {
    "H.264": "h264",
    "HEVC": "hevc",
    "VP9": "libvpx-vp9",
    "AV1": "libdav1d",
    "MPEG-4": "mpeg4",
}
LIBRARIES = ("numpy", "av", "onnxruntime")
EXTRA_LIBRARIES = ("scipy", "scikit-learn", "torch", "timm", "transformers")
FAISS = ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu")  # of one module

_FAULTS = (VlarError, ImportError, OSError, RuntimeError)


def doctor(
    receipt: Annotated[
        str | None, Option("Instead: repeat the answer of a receipt.", "RECEIPT")
    ] = None,
    /,
    *,
    root: Annotated[
        str | None, Option("Folder that all that a receipt names lies in.", "FOLDER")
    ] = None,
    signers: Annotated[
        str | None,
        Option("Allowed signers of ssh-keygen, one of whom has signed RECEIPT.sig.", "FILE"),
    ] = None,
    audit: Annotated[
        str | None,
        Option(
            "Instead: find what is wrong with a model folder, library, weights or bank of others.",
            "PATH",
        ),
    ] = None,
) -> int:
    """Check the installation, or a file that another person sent.

    Each fault comes with a remedy. An audit runs and writes nothing. Its exit code is 1 where it
    finds danger or damage. A receipt (--receipt of classify, query and timeline) gives "equal",
    "within" and a bound, or exit code 1 and the first part that differs.

    Examples:
        vlar doctor
        vlar doctor --audit downloads/model
    """
    if receipt is not None:
        from typer.main import get_command

        from vlar.apps.cli.app import app

        receipts = registry.shelf("apps.receipts", "a receipt")
        return receipts.check(receipt, root, signers, get_command(app))
    if root is not None or signers is not None:
        raise UsageError("--root and --signers belong to a RECEIPT; name its file")
    if audit is not None:
        return _audit(audit)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("vlar", _version),
        ("libraries", _libraries),
        ("data folders", _data_folders),
        ("cache", _cache),
        ("decoder", _decoder),
        *([("torch", _torch)] if is_installed("torch") else []),
        ("weights lite", _weights),
        ("encoder lite", _encoder),
        *((f"model {word}", partial(_vectors, name)) for word, name in _models()),
        ("index", _index),
    ]
    broken = 0
    for name, check in checks:
        try:
            fine, text = True, check()
        except Exception as error:
            if not (fault := package_fault(error)) and not isinstance(error, _FAULTS):
                raise
            fine, text = False, fault or " ".join(str(error).split())
            broken += 1
        state = "ok    " if fine else "BROKEN"
        facts = {"check": name, "ok": fine, "detail": text}
        output.row(facts, f"{state}  {name:<13} {text}")
    return 1 if broken else 0


def _audit(path: str) -> int:
    findings = registry.shelf("apps.audit", "--audit").audit(path)
    for finding in findings.findings:
        output.row(finding, finding.line)
    state = "nothing wrong" if findings.is_sound else "not sound"
    output.note(
        f"{findings.path}: {findings.kind}, {state}, {counted(len(findings.findings), 'findings')}"
    )
    return 0 if findings.is_sound else 1


def _version() -> str:
    return f"{__version__}, Python {platform.python_version()}, {platform.platform()}"


def _libraries() -> str:
    versions = _versions(LIBRARIES)
    if missing := next((name for name in LIBRARIES if name not in versions), None):
        raise VlarError(f"{missing} is not installed; run: {pip_install()}")
    return ", ".join([*versions.values(), *_versions(EXTRA_LIBRARIES).values()])


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of the packages that are installed, each after its name."""
    from importlib import metadata  # takes a while, and help of other verbs does not need it

    versions: dict[str, str] = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = f"{name} {metadata.version(name)}"
    return versions


def _torch() -> str:
    import torch

    return f"torch {torch.__version__}, {'with' if torch.cuda.is_available() else 'without'} a GPU"


def _data_folders() -> str:
    prompts, banks = resources.names("prompts", ".txt"), resources.names("text_banks", ".json")
    return f"{len(prompts)} prompt sets, {len(banks)} text banks"


def _cache() -> str:
    folder = resources.cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder}, {output.file_size(size)} (safe to delete; what was fetched is fetched again)"


def _decoder() -> str:
    """Encode and decode a clip; name the usual codecs that this FFmpeg lacks."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="avi") as video:
        stream = video.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        for _ in range(3):
            video.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        video.mux(stream.encode())
    file.seek(0)
    with av.open(file) as opened:
        count = sum(1 for _ in opened.decode(video=0))
    if count != 3:
        raise VlarError(f"{count} of 3 frames were decoded; reinstall PyAV: pip install -U av")
    lacking = [name for name, codec in CODECS.items() if codec not in av.codecs_available]
    note = f", without {', '.join(lacking)}" if lacking else f", {', '.join(CODECS)}"
    return f"PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info}{note}"


def _weights() -> str:
    """Compare the files of the default model with their hashes."""
    from vlar.files.fetched_weights.packages import extra

    lite = extra("lite")
    places = {str(lite.verified_path(file.name).parent) for file in lite.files}
    return f"{len(lite.files)} files, each with its hash ({', '.join(sorted(places))})"


def _encoder() -> str:
    import numpy as np

    from vlar.encoders.base import load_encoder
    from vlar.media.lookup import reader

    encoder = load_encoder("lite")
    near, far = "riding a bicycle on the road", "slicing onions in the kitchen"
    cyclist, cook, query = encoder.encode_text([near, far, "cycling"])
    if float(query @ cyclist) <= float(query @ cook):
        raise VlarError("the text tower answers wrongly; reinstall vlar and delete its cache")
    blank = reader(encoder.modality).blank(encoder.sampling)
    if not np.isfinite(encoder.encode(blank[:1])[0].vector).all():
        raise VlarError("the image tower answers wrongly; reinstall vlar and delete its cache")
    about = f"width {encoder.dim}, fingerprint {encoder.fingerprint[:12]}"
    return f"answers, {about}; {scale_of(encoder)}"


def _models() -> list[tuple[str, str]]:
    """Models that are here: the user's word, and the name that states the number type."""
    from vlar.encoders.catalogue import entries
    from vlar.encoders.download import compared_names

    names = compared_names()
    rows = {word: row for word, row in entries().items() if row.is_encoder}
    word_of = {
        name: word
        for name in names
        for word, row in rows.items()
        if name == row.full_spec or name.startswith((f"{row.full_spec}?", f"{row.full_spec}&"))
    }
    others = [word for word in rows if word not in word_of.values()]
    plain = [(word, word) for word in others if rows[word].is_here()]
    return plain + [(word_of.get(name, name), name) for name in names]


def _vectors(name: str) -> str:
    from vlar.encoders import download
    from vlar.encoders.base import load_encoder

    encoder = load_encoder(name)
    cosine, scale = download.compare(encoder), scale_of(encoder)
    if cosine is None:
        what = f"loads; no vectors were kept to compare with (vlar models get {name} keeps them)"
        return f"{what}; {scale}"
    return f"answers as when its vectors were kept, cosine {cosine:.5f}; {scale}"


def scale_of(encoder: Encoder) -> str:
    """Words for the factor of an encoder, its check for blank clips, and its calibration."""
    from vlar.model.core import ModelCore

    words = ModelCore(encoder)
    own = "" if encoder.states_scale else " (estimated from the spread of everyday actions)"
    blank = "told from others" if len(words.blank) else "not told from others: check is off"
    fitted = "calibrated" if words.calibrated else "not calibrated (vlar calibrate)"
    return f"logit scale {words.logit_scale:.3g}{own}, blank clips {blank}, {fitted}"


def _index() -> str:
    packages = _versions(FAISS)
    if len(packages) > 1:
        raise VlarError(
            f"{' and '.join(packages.values())} overwrite each other's files; run: pip uninstall "
            f"{' '.join(packages)}, then pip install one of them, faiss-gpu-cu12 for a card"
        )
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(4)
    index.add(np.eye(4, dtype=np.float32))
    _, numbers = index.search(np.eye(4, dtype=np.float32)[:1], 1)
    if int(numbers[0, 0]) != 0:
        package = next(iter(packages), FAISS[0])
        raise VlarError(
            f"FAISS answers wrongly; reinstall it: pip install --force-reinstall {package}"
        )
    devices = "GPU and CPU" if hasattr(faiss, "StandardGpuResources") else "CPU only"
    return f"{next(iter(packages.values()), f'FAISS {faiss.__version__}')}, {devices}"
