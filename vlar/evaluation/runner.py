"""Carries out the protocols of a card on a model; features are computed once for all of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.errors import DatasetError, ProtocolError, explained
from vlar.evaluation.cards import DataCard, LoadedCard
from vlar.evaluation.datasets.base import TRAIN, DatasetSplit, read_dataset, text_hash
from vlar.evaluation.features import FeatureStore, check_overlap, scored_subset, spelled_as
from vlar.evaluation.learning import ContentIds
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit
from vlar.files import resources
from vlar.files.reading import MB, read_file
from vlar.language.labels import parse_labels
from vlar.metrics.figures import Figure
from vlar.model.core import BACKGROUND_BANK, ModelCore
from vlar.model.model import Model
from vlar.types import JsonDict
from vlar.version import environment

_NAMED = 5


class MissingSetError(DatasetError):
    """The folder of a data set is not there."""

    kind = "missing_set"


def make_plan(card: LoadedCard, protocol: str, data: Path) -> tuple[Protocol, Plan]:
    """Check everything that needs no model.

    Raises:
        MissingSetError: the data set's folder is not there.
        DatasetError: its files are malformed.
        ProtocolError: hashes, counts, labels or settings do not fit.
    """
    part_class: type[Protocol] = registry.get("protocol", protocol)
    settings = _settings(card, part_class)
    cards = card.card.parts()
    names = [""] if len(cards) == 1 else [str(n) for n in range(1, len(cards) + 1)]
    parts = [
        _part(card, name, card_file, data) for name, card_file in zip(names, cards, strict=True)
    ]
    source = None if card.card.source is None else _part(card, "", card.card.source, data)
    plan = Plan(card, parts, source, settings)
    for part in parts:
        _check_part(card, part, plan)
        if TRAIN in part_class.needs and TRAIN not in part.data.subsets:
            raise _without_training(part, protocol)
    protocol_part = part_class()
    protocol_part.check(plan)
    return protocol_part, plan


def _without_training(part: RunSplit, protocol: str) -> DatasetError:
    """Error of a protocol that learns, with the files that it needs."""
    root, layout = part.data.root, part.data.layout
    divided = f"{root}/train/LABEL/ and the others into {root}/test/LABEL/"
    return DatasetError(
        f"{root}: {protocol} learns from training clips, and layout {layout!r} found none but "
        f"{len(part.test)} clips to score; put those to learn from into {divided}, or give a CSV "
        "with the columns path,label,split where split is train or test"
    )


def describe(plan: Plan, protocol: str) -> JsonDict:
    """Facts of a plan that a dry run prints."""
    rows = [
        {
            "split": part.name or None,
            "layout": part.data.layout,
            "labels": len(part.labels),
            "scored": part.subset,
            "subsets": {
                name: {
                    "listed": len(subset),
                    "there": len(subset.items),
                    "missing": len(subset.missing),
                }
                for name, subset in part.data.subsets.items()
            },
        }
        for part in plan.parts
    ]
    return {
        "card": plan.card.card.name,
        "protocol": protocol,
        "splits": rows,
        "counts": plan.counts,
        "settings": plan.settings,
        "notes": [*plan.notes, *(note for part in plan.parts for note in part.data.notes)],
    }


def _settings(card: LoadedCard, protocol: type[Protocol]) -> JsonDict:
    """The defaults of a protocol with what the card replaces; a card of several may set all."""
    every: dict[str, Any] = {}
    for name in card.card.protocols:
        every |= registry.get("protocol", name).defaults
    tables = {k: v for k, v in card.card.settings.items() if isinstance(v, dict)}
    tables = {k: v for k, v in tables.items() if k in card.card.protocols}
    shared = {k: v for k, v in card.card.settings.items() if k not in tables}
    settings: Mapping[str, Any] = {**shared, **tables.get(protocol.name, {})}
    strange = [key for key in settings if key not in every]
    if strange:
        where = ", ".join(card.card.protocols)
        raise registry.unknown_name(f"setting of {where}", strange[0], every)
    return {**protocol.defaults, **{k: v for k, v in settings.items() if k in protocol.defaults}}


def _part(card: LoadedCard, name: str, wanted: DataCard, data: Path) -> RunSplit:
    root = data / wanted.folder if wanted.folder else data
    if not root.exists():
        about = card.card.about.get("obtain")
        hint = f"; {about}" if about else ""
        raise MissingSetError(f"{card.card.name}: no folder {root}, so this set is missing{hint}")
    dataset = read_dataset(root, wanted.layout, wanted.options)
    for file, sha256 in dataset.files.items():
        card.check_hash(file, sha256)
    labels = spelled_as(card.labels(wanted.labels) or dataset.labels, dataset.labels)
    strange = [label for label in labels if label not in set(dataset.labels)]
    if strange:
        raise ProtocolError(
            f"{card.card.name}: {len(strange)} labels are not in the list of {root}, the first is "
            f"{strange[0]!r}; correct them"
        )
    listed = parse_labels(list(labels))
    if len(listed) < len(labels):
        raise ProtocolError(f"{card.card.name}: {'; '.join(listed.notes)}; merge them")
    if len(labels) < 2:
        raise ProtocolError(f"{card.card.name}: only the label {', '.join(labels)}; give two")
    return RunSplit(name, wanted, dataset, labels, scored_subset(dataset, wanted.subset))


def _check_part(card: LoadedCard, part: RunSplit, plan: Plan) -> None:
    test, name = part.test, f"split {part.name}: " if part.name else ""
    if not test.items:
        raise ProtocolError(
            f"{card.card.name}: none of the {len(test)} {part.subset} clips is there "
            f"({part.data.root}); get the recordings"
        )
    _check_counts(card, part)
    _check_disjoint(part.data)
    if len(test.items) == 1:
        plan.notes.append(f"{name}one clip only; its figures say nothing about others")
    if test.missing:
        first = ", ".join(item.path.name for item in test.missing[:_NAMED])
        plan.notes.append(
            f"{name}{len(test.missing)} of {len(test)} {part.subset} clips are missing "
            f"({first}, ..); figures are of the others"
        )
    empty = [label for label in part.labels if label not in test.labels]
    if empty:
        plan.notes.append(
            f"{name}{len(empty)} of {len(part.labels)} labels are empty classes, without a "
            f"{part.subset} clip: {', '.join(empty[:_NAMED])}"
        )


def _check_counts(card: LoadedCard, part: RunSplit) -> None:
    counts = {name: len(subset) for name, subset in part.data.subsets.items()}
    counts |= {"labels": len(part.labels), "scored": len(part.test), "clips": sum(counts.values())}
    for name, expected in card.card.expected.items():
        if name in counts and counts[name] != expected:
            raise ProtocolError(
                f"{card.card.name}: {counts[name]} {name} where the card says {expected}; it is "
                "another version of the data set"
            )


def _check_disjoint(data: DatasetSplit) -> None:
    """Refuse subsets that list the same clip.

    Raises:
        ProtocolError: the message names the first.
    """
    owners: dict[Any, str] = {}
    for name, subset in data.subsets.items():
        for item in (*subset.items, *subset.missing):
            key = (item.path, item.window)
            if owners.setdefault(key, name) != name:
                raise ProtocolError(
                    f"{item.path} is listed in {owners[key]!r} and in {name!r}; the splits must be "
                    "disjoint"
                )


FORMAT = 1
_MOST = 256 * MB  # of a file of runs


def model_facts(core: ModelCore, spec: str) -> JsonDict:
    """Settings that define a vector: weights, sampling, pixels, templates, the background."""
    encoder, sampling = core.encoder, core.encoder.sampling
    pixels = encoder.preprocess
    bank_file = resources.find("text_banks", BACKGROUND_BANK, ".json")
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
            "frames": sampling.n_frames,
            "rule": "midpoints of equal segments",
            **({"fps": sampling.fps, "max_frames": sampling.max_frames} if sampling.fps else {}),
            "longest_s": sampling.longest_s if sampling.longest_s < float("inf") else None,
            "shorter_side": sampling.shorter_side,
        },
        "pixels": pixels
        and {
            "height": pixels.height,
            "width": pixels.width,
            "crop": pixels.fit,
            "mean": list(pixels.mean),
            "std": list(pixels.std),
        },
        "templates": {"set": core.template_set, "texts": list(core.prompts)},
        "background": {"bank": BACKGROUND_BANK, "sha256": text_hash(bank_file)},
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_runs(file: Path, runs: Sequence[JsonDict], skipped: Sequence[JsonDict] = ()) -> None:
    """Write runs as one JSON file.

    Args:
        file: Where.
        runs: Runs of ``run_card``.
        skipped: Cards that gave no run, each with ``card`` and ``error``.

    Raises:
        ProtocolError: it cannot be written.
    """
    content = {"format": FORMAT, "runs": list(runs), "skipped": list(skipped)}
    with explained(ProtocolError, f"{file}: cannot be written"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_skipped(file: Path) -> list[JsonDict]:
    """The cards of a file, which ``read_runs`` accepts, that gave no run."""
    return json.loads(read_file(file, _MOST)).get("skipped", [])


def read_runs(file: Path) -> list[JsonDict]:
    """The runs of a file, also of a result that ``vlar evaluate --json`` printed.

    Raises:
        ProtocolError: it cannot be read, or was written by another version.
    """
    try:
        with explained(ProtocolError, f"{file}: cannot be read", "give a run's file"):
            content: Any = json.loads(read_file(file, _MOST))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{file}: not valid JSON ({error})") from error
    if isinstance(content, dict) and "per_label" in content:
        try:
            return [_of_evaluation(content)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"{file}: not a result of 'vlar evaluate' ({error!r})") from error
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


_NAMES = {
    "top1": "top1",
    "top5": "top5",
    "macro": "macro",
    "map": "mAP",
    "micro_map": "micro mAP",
    "ece": "calibration error",
    "unknown_rate": "called unknown",
}


def _of_evaluation(found: JsonDict) -> JsonDict:
    """The run of a result of ``vlar evaluate``, with the same figures."""
    n, source, settings = int(found["n"]), Path(found["source"]), dict(found["settings"])
    ends = {
        name: dict(zip(("low", "high"), interval or (), strict=False))
        for name, interval in found["intervals"].items()
    }
    figures = [
        Figure(name, float(found[key]), n=n, **ends.get(key, {}))
        for key, name in _NAMES.items()
        if key in found
    ]
    figures += [Figure("top1", v, n=n).of(part=k) for k, v in found.get("parts", {}).items()]
    figures += map(Figure.restore, found.get("slices", []))
    facts = {name: settings.pop(name) for name in ("encoder", "fingerprint")}
    labels = {"folders": [str(source)], "splits": [{"labels": len(found["labels"])}], "notes": []}
    return {
        "card": source.name,
        "protocol": "evaluate",
        "made": "",
        "figures": [figure.to_dict() for figure in figures],
        "failed": found["failed"],
        "n_missing": 0,
        "moves": {
            "model": {"spec": found["model"], **facts},
            "data": labels,
            "settings": {"mode": found["mode"], **settings},
        },
    }


_LISTED = 1000  # missing recordings that a run's file names


def run_card(
    card: LoadedCard,
    data: str | Path,
    model: Model,
    *,
    controls: bool = True,
    store: FeatureStore | None = None,
) -> Iterator[JsonDict]:
    """The runs of a card, one a protocol; all are checked before the first is computed.

    Args:
        card: The protocol file.
        data: The user's folder.
        model: Model of ``vlar.load``.
        controls: Take every figure under one frame, shuffled and reversed frames too.
        store: Where features are kept; None for the cache folder.

    Yields:
        The content of a run's file (``vlar.evaluation.runner``).

    Raises:
        DatasetError: the data cannot be read.
        ProtocolError: the card, the data and the model do not fit.
    """
    root = Path(data)
    plans = [make_plan(card, name, root) for name in card.card.protocols]
    core = ModelCore(model.encoder, templates=card.card.templates, name=model.name)
    _check_model(card, model, plans)
    store = store or FeatureStore(ContentIds().of)
    for protocol, plan in plans:
        yield _one(protocol, plan, core, store, controls)


def _check_model(card: LoadedCard, model: Model, plans: list[tuple[Protocol, Plan]]) -> None:
    fingerprint = card.card.fingerprint
    if fingerprint is not None and not model.fingerprint.startswith(fingerprint):
        raise ProtocolError(
            f"card {card.card.name!r} stands for weights with the fingerprint "
            f"{fingerprint[:12]}.., and model {model.name!r} has {model.fingerprint[:12]}..; load "
            "the right weights"
        )
    if model.labels is None:
        return
    for _, plan in plans:
        for part in plan.parts:
            shared = check_overlap(
                model.labels,
                part.labels,
                f"what {model.name!r} was adapted to and the test",
                plan.settings,
            )
            plan.notes.append(f"the model was adapted to {len(shared)} of the labels")


def _one(
    protocol: Protocol, plan: Plan, core: ModelCore, store: FeatureStore, controls: bool
) -> JsonDict:
    before = (store.cost.encoded, store.cost.reused, store.cost.seconds, store.cost.cpu_s)
    start_s, cpu_s = time.perf_counter(), time.process_time()
    run = Run(plan, core, store, controls)
    figures = protocol.run(run)
    cost = store.cost
    encoded = cost.encoded - before[0]
    spent: JsonDict = {
        "seconds": time.perf_counter() - start_s,
        "cpu_s": time.process_time() - cpu_s,
        "clips_encoded": encoded,
        "clips_reused": cost.reused - before[1],
        "latency_s": (cost.seconds - before[2]) / encoded if encoded else None,
        "latency_cpu_s": (cost.cpu_s - before[3]) / encoded if encoded else None,
        "peak_bytes": resources.peak_bytes(),
    }
    return _content(protocol, plan, run, figures, spent)


def _content(
    protocol: Protocol, plan: Plan, run: Run, figures: list[Figure], spent: JsonDict
) -> JsonDict:
    card = plan.card.card
    missing = [item for part in plan.parts for item in part.test.missing]
    return {
        "card": card.name,
        "protocol": protocol.name,
        "made": now(),
        "figures": [figure.to_dict() for figure in figures],
        "about": card.about,
        "published": [row.model_dump() for row in card.published],
        "moves": {
            "card_sha256": plan.card.sha256,
            "model": model_facts(run.core, run.core.name),
            "descriptions": card.descriptions,
            "labels": run.label_texts,
            "data": {
                "folders": [str(part.data.root) for part in plan.parts],
                "files": {k: v for part in plan.parts for k, v in part.data.files.items()},
                **describe(plan, protocol.name),
            },
            "controls": run.controls,
            "settings": plan.settings,
            "environment": environment(),
        },
        "missing": [str(item.path) for item in missing[:_LISTED]],
        "n_missing": len(missing),
        "failed": [row.to_dict() for row in run.failed.values()],
        "tables": run.tables,
        "cost": spent,
    }
