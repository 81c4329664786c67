"""Carries out the protocols of a card on a model; features are computed once for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from vlar.errors import ProtocolError
from vlar.evaluation.protocols.base import Plan, Protocol, Run
from vlar.evaluation.running.cards import LoadedCard
from vlar.evaluation.running.clips import check_overlap
from vlar.evaluation.running.features import FeatureStore
from vlar.evaluation.running.figures import Figure
from vlar.evaluation.running.guard import ContentIds
from vlar.evaluation.running.planning import describe, make_plan
from vlar.evaluation.running.provenance import environment, model_facts, now, peak_bytes
from vlar.model.core import ModelCore
from vlar.model.model import Model
from vlar.types import JsonDict

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
        model: Of ``vlar.load``.
        controls: Take every figure under one frame, shuffled and reversed frames too.
        store: Where features are kept; None for the cache folder.

    Yields:
        The content of a run's file (``vlar.evaluation.running.provenance``).

    Raises:
        DatasetError: the data cannot be read.
        ProtocolError: the card, the data and the model do not fit.
    """
    place = Path(data)
    plans = [make_plan(card, name, place) for name in card.card.protocols]
    core = ModelCore(model.encoder, templates=card.card.templates, name=model.name)
    _check_model(card, model, plans)
    store = store or FeatureStore(ContentIds().of)
    for protocol, plan in plans:
        yield _one(protocol, plan, core, store, controls)


def _check_model(card: LoadedCard, model: Model, plans: list[tuple[Protocol, Plan]]) -> None:
    wanted = card.card.fingerprint
    if wanted is not None and not model.fingerprint.startswith(wanted):
        raise ProtocolError(
            f"card {card.card.name!r} stands for weights with the fingerprint {wanted[:12]}.., and "
            f"model {model.name!r} has {model.fingerprint[:12]}..; load the right weights"
        )
    if model.labels is None:
        return
    for _, plan in plans:
        for part in plan.parts:
            shared = check_overlap(
                model.labels, part.labels, f"what {model.name!r} was adapted to and the test",
                plan.settings,
            )  # fmt: skip
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
        "peak_bytes": peak_bytes(),
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
