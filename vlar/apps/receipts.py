"""Receipts of answers: all that an answer stands on, with hashes, so that anybody can repeat it.

A receipt is one JSON object of the parts ``PARTS`` and the SHA-256 of each; docs/receipts.md
describes them. It may come from anybody: what it names is compared with its hash before anything
else reads it, options are those of an allow-list, nothing is fetched, and no other recording is
opened (``vlar.files.opening.restrict``).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.apps.cli import inputs, output
from vlar.apps.cli.verb import RECEIPT_VERBS
from vlar.errors import UsageError, VlarError, explained, one_line
from vlar.version import environment

if TYPE_CHECKING:
    from vlar.model.model import Model
    from vlar.types import Clip, JsonDict

FORMAT = "vlar receipt 1"
#: In the order in which they are compared.
PARTS = ("recording", "frames", "weights", "labels", "settings", "answer")
#: Greatest difference of a number of an answer between machines (benchmarks/receipts.py).
BOUND = 0.001
_MOST_BYTES, _MOST_RECORDINGS, _MOST_SIGNATURE = 64 << 20, 1000, 1 << 16
_MOST_TIMES = 512  # of a clip; of sounds and events the hash alone covers the others
_NAMESPACE = "vlar"  # of signatures
_FILES = ("labels", "tree")  # options whose value may be a file
_OUTPUT = ("cut", "html", "csv", "explain", "timeline_file", "out", "paths", "library", "text")
_OPTIONS = {
    *("model", "device", "dtype", "top", "every_s", "mode", "descriptions", "shots", "who", "zoom"),
    *("at", "online", "k", "where", "min_probability", "yes", "no", "miss", "only", "fps", "force"),
    *("one_per_recording", "every", "window", "shortest", "no_unknown", "delay", "px_per_cm"),
    *_FILES,
}


class Different(Exception):  # noqa: N818 - a verdict, not a fault
    """A part of a receipt that differs, and in what."""


class Recorder:
    """Record of a verb while it answers.

    Attributes:
        rows: The answer, as JSON.
        clips: Facts of the clips that were read, each once.
        model: The model that answered.
    """

    model: Model

    def __init__(self) -> None:
        self.rows: list[JsonDict] = []
        self.clips: dict[str, JsonDict] = {}

    def watch(self, model: Model) -> None:
        """Note the clips that the encoder of a model reads."""
        self.model, encoder = model, model.encoder
        session = encoder.session

        def sessions(*args: Any, **options: Any) -> Any:
            opened = session(*args, **options)
            vars(opened)["encode"] = partial(self._noted, opened.encode)
            return opened

        vars(encoder).update(encode=partial(self._noted, encoder.encode), session=sessions)

    def _noted(self, encode: Callable[..., Any], clips: Sequence[Clip]) -> Any:
        for clip in clips:
            samples = hashlib.sha256()
            for part in (clip, *clip.parts.values()):
                samples.update(f"{part.modality} {part.data.dtype} {part.data.shape}".encode())
                samples.update(part.data.tobytes() + part.times_s.tobytes())
            facts = {
                "path": str(clip.path),
                "start_s": clip.window.start_s,
                "end_s": clip.window.end_s,
                "times_s": clip.times_s[:_MOST_TIMES].tolist(),
                "sha256": samples.hexdigest(),
            }
            self.clips[json.dumps(facts)] = facts
        return encode(clips)


@contextmanager
def recorded() -> Generator[Recorder]:
    """Record of the verb that runs inside."""
    run = Recorder()
    output.keep(run.rows)
    inputs.model_watchers.append(run.watch)
    try:
        yield run
    finally:
        output.keep(None)
        inputs.model_watchers.remove(run.watch)
        for name in ("encode", "session") if hasattr(run, "model") else ():
            vars(run.model.encoder).pop(name, None)


def write(
    path: Path, verb: str, typed: JsonDict, defaults: Mapping[str, Any], call: Callable[[], int]
) -> int:
    """Run a verb and write the receipt of its answer; the exit code.

    Args:
        path: The file; an older one is replaced.
        verb: Name of the verb.
        typed: Its arguments and options.
        defaults: Their defaults.
        call: Runs the verb.

    Raises:
        UsageError: an option asks what a receipt cannot hold, or the file cannot be written.
    """
    from vlar.encoders import trusted_paths
    from vlar.files.replacing import replacing
    from vlar.media.lookup import find

    options = {k: v for k, v in typed.items() if v != defaults.get(k) and k not in _OUTPUT}
    if wrong := sorted(options.keys() - _OPTIONS):
        raise UsageError(f"--receipt cannot hold {wrong[0].replace('_', '-')!r}; leave one out")
    if not path.absolute().parent.is_dir():  # found out before the work
        raise UsageError(f"--receipt {path}: the folder does not exist; choose another file")
    with recorded() as run:
        code = call()
    if code or not run.rows:
        output.note("vlar: no receipt is written, since not all of it was answered")
        return code
    settings = {"verb": verb, "options": options, "machine": machine()}
    named = [*typed.get("paths", ()), typed.get("library"), *map(options.get, (*_FILES, "model"))]
    recordings = [Path(text) for text in typed.get("paths", ())]
    if verb == "query":
        settings |= {"library": typed["library"], "text": typed["text"]}
    else:
        recordings = find(recordings, run.model.modality)
    paths = [text for text in map(str, (*recordings, *named)) if _is_path(text)]
    names = {text: os.path.abspath(text) for text in paths}  # noqa: PTH100
    options |= {name: names.get(str(options[name]), options[name]) for name in options}
    parts = _renamed(_facts(run, settings, recordings), names)
    trusted_paths.remember(str(options.get("model", "lite")), run.model.fingerprint)
    if len(parts["recording"]) > _MOST_RECORDINGS:
        raise UsageError(f"a receipt holds at most {_MOST_RECORDINGS:,} recordings; answer fewer")
    content = {"format": FORMAT, **parts, "hashes": {name: _digest(parts[name]) for name in PARTS}}
    fault = explained(UsageError, f"--receipt {path}: cannot be written", "choose another file")
    with fault, replacing(path, durable=False) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    output.note(f"vlar: receipt written to {path}; to repeat the answer: vlar doctor {path}")
    return code


def machine() -> JsonDict:
    """Versions, threads and class of this machine; where they are equal, answers are too."""
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**environment(), "threads": {"cores": os.cpu_count(), **threads}}


def _facts(run: Recorder, settings: JsonDict, recordings: Iterable[Path]) -> JsonDict:
    """The parts of the receipt of a run, without the hashes."""
    from vlar.media.video.files import content_hash
    from vlar.pose.onnx import owners

    model, options = run.model, settings["options"]
    files = weight_files([str(options.get("model", "")), model.encoder.name], owners)
    calibration = {"calibrated": model.words.calibrated, "scale": float(model.words.logit_scale)}
    if settings["verb"] == "query":
        hashes, clips = _library_facts(settings["library"], run.rows)
    else:
        hashes = {str(path): content_hash(path) for path in recordings}
        # Without those of nothing and of the demo, which a model encodes once and keeps.
        clips = [row for row in run.clips.values() if row["path"] in hashes]
    return {
        "recording": hashes,
        "frames": clips,
        "weights": {"files": files, "fingerprint": model.fingerprint, "calibration": calibration},
        "labels": labels_of(options, model.default_labels),
        "settings": settings,
        "answer": run.rows,
    }


def _library_facts(library: str, rows: Sequence[JsonDict]) -> tuple[JsonDict, list[JsonDict]]:
    """Recordings of hits by the hashes that the library keeps, and the vectors that answered."""
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        hashes = {row.path: row.content_hash for row in opened.videos()}
        table = opened.all_rows()
    vectors = dict(zip(map(int, table.table.ids), table.vectors, strict=True))
    clips = [{"row": row["row"], "path": row["path"]} for row in rows if row.get("row") in vectors]
    for clip in clips:
        clip["sha256"] = hashlib.sha256(vectors[clip["row"]].tobytes()).hexdigest()
    return {row["path"]: hashes.get(row["path"], "") for row in rows if "path" in row}, clips


def labels_of(options: Mapping[str, Any], own: Sequence[str]) -> JsonDict:
    """Labels as they are read, their SHA-256, and that of the files that name them."""
    from vlar.files.arrays import sha256
    from vlar.language.labels import parse_labels

    files = {name: options[name] for name in _FILES if _is_path(str(options.get(name, "")))}
    listed = parse_labels(str(options["labels"])) if "labels" in options else None
    content = listed and (listed.labels, listed.texts, listed.keys, listed.parts, listed.entries)
    return {
        "labels": list(listed.labels if listed else own),
        "sha256": hashlib.sha256(repr(content or tuple(own)).encode()).hexdigest(),
        "files": {name: sha256(_path(file), _MOST_BYTES) for name, file in files.items()},
    }


def weight_files(specs: Iterable[str], extras: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of models by their names, and of extras; nothing is fetched.

    Args:
        specs: Names of models: paths, or models of the hub.
        extras: Names of extras.
    """
    from vlar.encoders import download, trusted_paths
    from vlar.files.arrays import sha256
    from vlar.files.fetched_weights.packages import extra
    from vlar.files.opening import MOST_BYTES

    files = {f"{name}/{key}": path for name in extras for key, path in extra(name).kept().items()}
    for spec in filter(None, dict.fromkeys(specs)):
        tops = trusted_paths.local_paths(spec) or [row.folder() for row in download.sources(spec)]
        for top in filter(None, tops):
            inside = [file for file, _ in trusted_paths.files_of(top) if file.suffix != ".md"]
            files |= {f"model/{file.relative_to(top.parent)}": file for file in inside}
    return {name: sha256(file, MOST_BYTES) for name, file in sorted(files.items())}


def _path(text: str) -> Path:
    return Path(text.removeprefix("bank:"))


def _is_path(text: str) -> bool:
    try:
        return bool(text) and _path(text).exists()
    except (OSError, ValueError):  # too long, or with a NUL: not a path
        return False


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A value as JSON in which texts that are names are others."""
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def difference(here: Any, stated: Any) -> float:
    """Greatest difference of the numbers of two JSON values; infinite where they differ in more.

    >>> difference({"a": [1.0, "x"]}, {"a": [1.5, "x"]}), difference([1], ["1"])
    (0.5, inf)
    """
    from vlar.files.reading import walk

    one, other = (
        {path: leaf for _, path, leaf in walk(value) if not isinstance(leaf, dict | list)}
        for value in (here, stated)
    )
    apart = 0.0 if one.keys() == other.keys() else float("inf")
    for path in one if apart == 0 else ():
        numbers = {type(one[path]), type(other[path])} <= {int, float}
        same = type(one[path]) is type(other[path]) and one[path] == other[path]
        apart = max(apart, abs(one[path] - other[path]) if numbers else 0 if same else float("inf"))
    return apart


def check(path: str, root: str | None, signers: str | None, command: Any) -> int:
    """Repeat the answer of a receipt and print what came of it; the exit code.

    Args:
        path: The receipt.
        root: Folder that all it names lies in; None: paths are as they are stated.
        signers: File of allowed signers, one of whom has signed it; None asks for no signature.
        command: The application.
    """
    from vlar.files.reading import parse_json, read_file

    with explained(UsageError, f"{path}: cannot be read", "give a file of --receipt"):
        data = read_file(Path(path), _MOST_BYTES, links=False)
    try:
        parts = _checked(parse_json(data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = one_line(str(error))[:200]
        raise UsageError(f"{path}: is not a receipt of vlar ({why}); ask for it again") from None
    try:
        by = "" if signers is None else f", signed by {_signer(path, data, signers)}"
        apart = _repeat(parts, None if root is None else Path(os.path.realpath(root)), command)
    except Different as verdict:
        part, why = verdict.args
        output.row({"result": "different", "part": part, "why": why}, f"{part} differs: {why}")
        return 1
    result = f"within {BOUND:g}" if apart else "equal"
    output.row({"result": result, "apart": apart, "bound": BOUND}, result + by)
    return 0


def _checked(value: Any) -> JsonDict:
    """A receipt, the types of whose values are those that are used.

    Raises:
        ValueError: they are not; KeyError, TypeError, AttributeError: one is missing.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"it does not state the format {FORMAT!r}")
    if value.keys() != {"format", *PARTS, "hashes"} or len(value["recording"]) > _MOST_RECORDINGS:
        raise ValueError(f"it lacks a part, has one more, or over {_MOST_RECORDINGS:,} recordings")
    settings, labels = value["settings"], value["labels"]
    is_query = settings["verb"] == "query"
    texts = [value["weights"]["fingerprint"], *value["weights"]["files"].values(), settings["verb"]]
    texts += [text for row in (value["recording"], labels["files"]) for text in row.items()]
    texts += [settings[name] for name in ("library", "text") if is_query]
    texts += value["hashes"].values()
    flat = [text for row in texts for text in (row if isinstance(row, tuple) else (row,))]
    is_verb = settings["verb"] in RECEIPT_VERBS
    if not is_verb or not all(isinstance(t, str) and "\0" not in t for t in flat):
        raise ValueError("a path, a hash or the verb is not a text that it can be")
    for name, option in settings["options"].items():
        listed = option if isinstance(option, list) else [option]
        named = name in _FILES and _is_path(str(option)) and name not in labels["files"]
        if (
            name not in _OPTIONS
            or named
            or not all(type(x) in (str, int, float, bool) for x in listed)
        ):
            raise ValueError(f"the option {name[:40]!r} is not one that a receipt may have")
    return value


def _repeat(stated: JsonDict, root: Path | None, command: Any) -> float:
    """Repeat an answer; the greatest difference of a number in it.

    Raises:
        Different: the first part that differs.
        VlarError: it cannot be repeated here.
    """
    from vlar.encoders import trusted_paths
    from vlar.files.fetched_weights.packages import names as extras
    from vlar.media.video.files import content_hash

    for part in PARTS:
        if _digest(stated[part]) != stated["hashes"].get(part):
            raise Different(part, "it was changed after the receipt was made")
    settings, files = stated["settings"], stated["weights"]["files"]
    options, names = dict(settings["options"]), dict[str, str]()
    is_query, spec = settings["verb"] == "query", str(options.get("model", "lite"))

    def local(text: str) -> str:
        path = _local(text, root)
        names[path] = text
        return path

    paths = [path for text in stated["recording"] if _is_path(path := local(text)) or not is_query]
    for path in paths:
        if content_hash(path) != stated["recording"][names[path]]:
            raise Different("recording", f"{path} has another SHA-256")
    if spec in map(str, trusted_paths.local_paths(spec)):
        options["model"] = spec = local(spec)
    elif root and trusted_paths.local_paths(spec):
        raise UsageError(f"the receipt names the model {spec}, outside of --root")
    owners = {name.partition("/")[0] for name in files}
    here = weight_files([spec], owners & set(extras()))
    if wrong := [name for name in here if name in files and files[name] != here[name]]:
        raise Different("weights", f"{wrong[0]} has another SHA-256")
    options |= {name: local(options[name]) for name in stated["labels"]["files"]}
    if "labels" in options and labels_of(options, ()) != stated["labels"]:
        raise Different("labels", "they are read as others")
    trusted_paths.require(spec, None, "the receipt")
    if is_query:
        settings = {**settings, "library": local(settings["library"])}
        paths = [settings["library"]]
    run = _answer(command, settings, options, paths, [root] if root else paths)
    facts = _facts(run, {**settings, "options": options}, map(Path, paths))
    facts = _renamed(facts, names)
    facts["weights"]["files"] = {name: facts["weights"]["files"].get(name) for name in files}
    for part in PARTS[:4]:
        if facts[part] != stated[part]:
            raise Different(part, "what is read here has another hash")
    apart = difference(facts["answer"], stated["answer"])
    if apart > (0 if machine() == settings["machine"] else BOUND):
        raise Different("answer", f"numbers are up to {apart:.2g} apart")
    return apart


def _local(text: str, root: Path | None) -> str:
    """The path of this machine for a stated one; in ``root``, its longest end that exists there."""
    if root is None:
        return text
    prefix, path = "bank:" if text.startswith("bank:") else "", _path(text)
    names = [name for name in path.parts if name not in (path.anchor, "..")]
    ends = [os.path.realpath(root.joinpath(*names[start:])) for start in range(len(names))]
    inside = [end for end in ends if Path(end).is_relative_to(root) and Path(end).exists()]
    if not inside:
        raise UsageError(f"{path}: the receipt names it, and it is not in {root}; add it there")
    return prefix + inside[0]


def _answer(
    command: Any,
    settings: JsonDict,
    options: JsonDict,
    paths: Sequence[str],
    roots: Sequence[str | Path],
) -> Recorder:
    """Run a verb as the command line does, confined and without its output.

    Raises:
        VlarError: it does not answer; the message has its last line.
    """
    from vlar.files import opening

    verb = settings["verb"]
    spelled = {row.name: row.opts for row in vars(command)["commands"][verb].params}
    words = [verb]
    for name, value in options.items():
        flag = next(word for word in spelled.get(name, ["--"]) if word.startswith("--"))
        texts = value if isinstance(value, list) else [value]
        words += [flag if text is True else f"{flag}={text}" for text in texts]
    words += ["--", *paths, *([settings["text"]] if verb == "query" else [])]
    before, offline = opening.allowed_roots(), os.environ.get("HF_HUB_OFFLINE", "0")
    as_json, errors, run, code = output.is_json(), io.StringIO(), Recorder(), None
    os.environ["HF_HUB_OFFLINE"] = "1"
    opening.restrict(roots)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(errors), recorded() as run:
            command.main(words)
    except SystemExit as ended:
        code = ended.code
    finally:
        opening.restrict(before)
        os.environ["HF_HUB_OFFLINE"] = offline
        output.set_json(as_json)
    if code:
        line = (errors.getvalue().strip().splitlines() or ["no answer"])[-1]
        raise VlarError(f"the answer cannot be repeated here: {line.removeprefix('vlar: ')}")
    return run


def _signer(path: str, data: bytes, signers: str) -> str:
    """The signer of a receipt, by ``ssh-keygen`` and a file of allowed signers.

    Raises:
        UsageError: the signature or ssh-keygen is missing.
        Different: nobody of the file has signed this content.
    """
    from vlar.files.reading import check_file

    files = [os.path.abspath(name) for name in (f"{path}.sig", signers)]  # noqa: PTH100
    for name in files:
        with explained(UsageError, f"{name}: cannot be read", "see docs/receipts.md on signing"):
            check_file(Path(name), _MOST_SIGNATURE, links=False)
    if (program := shutil.which("ssh-keygen")) is None:
        raise UsageError("--signers needs ssh-keygen, which is not installed; install OpenSSH")
    run = partial(subprocess.run, input=data, capture_output=True, timeout=30, check=False)
    named = ["-s", files[0], "-f", files[1]]
    who = run([program, "-Y", "find-principals", *named]).stdout.decode(errors="replace")
    who = (who.splitlines() or [""])[0]
    verify = [program, "-Y", "verify", *named, "-I", who, "-n", _NAMESPACE]
    if not who or run(verify).returncode:
        raise Different("signature", f"nobody of {signers} has signed this receipt")
    return who
