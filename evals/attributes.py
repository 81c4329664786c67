"""Action and person in what `private` lets through (STPrivacy): a row a form and seed.

    python evals/attributes.py --data DIR [--seeds 5] [--first 0] [--json FILE]

DIR has ``videos``. Weizmann, 10 actions of 5 people, by ``lite-objects``. As in the protocol
``attributes``: half of the clips teaches ``private``, four attackers learn in the other half, and
are asked about people (action) or actions (person) that they were not shown; then the halves change
places. A seed draws the halves, random tokens and directions. A row has the balanced accuracy of
each attacker for one form and seed; it is kept and is not measured again. Controls: random tokens,
as many random directions, labels permuted.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from harness import arguments, manifest, some, store, stored

import vlar
from vlar import registry
from vlar.evaluation.features import FeatureStore
from vlar.evaluation.learning import ContentIds, encoded
from vlar.evaluation.protocols.attributes import _figures, _forms
from vlar.heads.support import SupportItem
from vlar.model.core import ModelCore

FORMS = (
    "all features", "100% of tokens by words", "50% of tokens by words",
    "50% of tokens by random", "25% of tokens by words", "25% of tokens by random",
    "removal erase", "removal random", "removal reverse", "labels permuted",
)  # fmt: skip


def main() -> None:
    """Measure what is missing."""
    given = arguments(
        __doc__, "data", "json", seeds=5, first=(0, "first seed"), forms=some(FORMS),
    )  # fmt: skip
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = stored(given.json, [])
    folder = given.data / "videos"
    items = [
        SupportItem(folder / row["path"], None, (row["readable_label"],), row["group"])
        for row in manifest(folder, "weizmann")
    ]
    settings: dict[str, Any] = {"attribute": "group", "shares": [1.0, 0.5, 0.25], "grid": None}
    encoder = vlar.load("lite-objects").encoder
    base = registry.get("adapter", "private").attach(encoder, {"grid": None})
    store_of = FeatureStore(ContentIds().of, disk=False)
    clips = encoded(ModelCore(base.source), store_of, tuple(items))
    for seed in range(given.first, given.seeds):
        for form in given.forms:
            key = {"form": form, "seed": seed}
            if any(key.items() <= row.items() for row in rows):
                continue
            begin, how = time.process_time(), _forms(settings)[form]
            found = _figures(form, how, encoder, clips, {**settings, "seeds": [seed]})
            shown = {
                f"{figure.name}, {figure.where['attacker']}": round(100 * figure.value, 1)
                for figure in found
                if figure.where["attacker"] != "strongest"
            }
            rows.append({**key, **shown, "cpu_s": round(time.process_time() - begin, 1)})
            print(*rows[-1].values(), flush=True)
            store(given.json, rows)


if __name__ == "__main__":
    main()
