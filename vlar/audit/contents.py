"""What lies in a folder or an archive: code, links, devices, and what pickles would call."""

from __future__ import annotations

import os
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from vlar.audit.finding import DAMAGE, DANGER, REMARK, Finding
from vlar.safety.checkpoints import check_archive
from vlar.safety.files import MB, read_file, special_kind

CODE = (
    ".py", ".pyc", ".so", ".dll", ".dylib", ".pyd", ".sh", ".bat", ".cmd", ".ps1", ".exe", ".pth",
    ".js", ".jar",
)  # fmt: skip
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_MOST_FILES = 10_000
_MOST_PICKLE = 256 * MB
_HARMLESS = ("torch.", "torch._utils.", "collections.OrderedDict", "collections.defaultdict")


def files_in(folder: Path) -> Iterator[Path]:
    """Everything in a folder but folders, up to 10,000; links are not followed."""
    count = 0
    for top, _, names in os.walk(folder):
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                return
            yield Path(top) / name


def look(file: Path) -> Iterator[Finding]:
    """What a file is, whatever folder it lies in: a link, a device, code, a pickle with calls."""
    if file.is_symlink():
        advice = "delete the link, or copy the file itself from a source you trust"
        yield Finding(DANGER, str(file), f"it is a link to {os.readlink(file)}", advice)  # noqa: PTH115
        return
    kind = special_kind(file)
    if kind is not None:
        yield Finding(DANGER, str(file), f"it is {kind}, not a file", "delete it")
        return
    suffix = file.suffix.lower()
    if suffix in PICKLES:
        yield from pickle_findings(file)
    elif suffix in CODE:
        yield Finding(DANGER, str(file), "it is code, which vlar never runs", "delete it")
    elif os.access(file, os.X_OK) and suffix not in (".safetensors", ".json", ".txt"):
        yield Finding(REMARK, str(file), "it may be executed", "delete it if you do not know it")


def pickle_findings(file: Path) -> Iterator[Finding]:
    """What a file of ``torch.save`` would call where it is unpickled without ``weights_only``."""
    advice = "use weights as safetensors, or load it with vlar alone, which reads tensors only"
    try:
        archive = check_archive(file)
        found = _names_in_archive(file) if archive else _names(read_file(file, _MOST_PICKLE))
        names = sorted(set(found))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield Finding(DAMAGE, str(file), why, advice)
        return
    calls = [name for name in names if not name.startswith(_HARMLESS)]
    if calls:
        shown = ", ".join(calls[:5]) + (f" and {len(calls) - 5} more" if len(calls) > 5 else "")
        yield Finding(DANGER, str(file), f"its pickle calls {shown}", advice)


def _names_in_archive(file: Path) -> Iterator[str]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                yield from _names(archive.read(entry))
            elif entry.filename.endswith((".py", ".pyc")):
                yield f"the code {entry.filename}"


def _names(data: bytes) -> Iterator[str]:
    """The names that pickles in a row import, read from their opcodes; nothing is unpickled.

    Raises:
        ValueError: the data does not begin with a pickle.
    """
    import io

    if not data:
        raise ValueError("it is empty")
    stream, first = io.BytesIO(data), True
    while stream.tell() < len(data):
        texts: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".", 1)
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(texts[-2:])
                elif "UNICODE" in opcode.name:
                    texts.append(str(argument))
        except (ValueError, IndexError, OverflowError, MemoryError):
            if first:
                raise ValueError("it is neither an archive of torch's nor a pickle") from None
            return  # the tensors of an older format follow their pickles
        first = False
