"""Protocols that share features against each protocol on its own: processor time and memory.

    python benchmarks/shared_features.py --data DIR [--model lite] [--cards jhmdb clips]

DIR is that of ``evals/mini.toml``, whose cards are run. Every run is a process of its own with an
empty folder for features; the networks of ``lite`` are taken from the usual cache folder.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from vlar.files import resources

SUITE = Path(__file__).resolve().parent.parent / "evals" / "mini.toml"
Pairs = list[tuple[str, str]]  # card and protocol


def run(model: str, data: str, pairs: Pairs, cache: str) -> dict[str, float]:
    """Run some protocols in this process; features are kept in ``cache``."""
    os.environ["VLAR_CACHE"] = cache
    import vlar
    from vlar.evaluation.cards import read_suite
    from vlar.evaluation.features import FeatureStore
    from vlar.evaluation.learning import ContentIds
    from vlar.evaluation.runner import peak_bytes, run_card

    loaded, store = vlar.load(model), FeatureStore(ContentIds().of)
    suite = read_suite(SUITE)
    start_s = time.process_time()
    for card, controls in zip(suite.cards, suite.controls, strict=True):
        wanted = [protocol for name, protocol in pairs if name == card.card.name]
        if wanted:
            card.card.protocol = wanted
            list(run_card(card, data, loaded, controls=controls, store=store))
    return {
        "cpu_s": time.process_time() - start_s,
        "encoded": store.cost.encoded,
        "peak_mb": peak_bytes() / 1e6,
    }


def fresh(model: str, data: str, pairs: Pairs) -> dict[str, float]:
    """``run`` in another process with an empty folder for features."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        usual = resources.cache_dir()
        if usual.is_dir():
            shutil.copytree(usual, cache, ignore=shutil.ignore_patterns("features", "evals"))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(run, model, data, pairs, str(cache)).result()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True, help="folder with videos/, clips/ and long/")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--cards", nargs="*", help="cards of evals/mini.toml (all)")
    options = parser.parse_args()
    from vlar.evaluation.cards import read_suite

    cards = [card.card for card in read_suite(SUITE).cards]
    chosen = [card for card in cards if not options.cards or card.name in options.cards]
    pairs = [(card.name, protocol) for card in chosen for protocol in card.protocols]
    shared = fresh(options.model, options.data, pairs)
    apart = [fresh(options.model, options.data, [pair]) for pair in pairs]
    total = {
        "cpu_s": sum(each["cpu_s"] for each in apart),
        "encoded": sum(each["encoded"] for each in apart),
        "peak_mb": max(each["peak_mb"] for each in apart),
    }
    for name, row in (("shared", shared), ("apart", total)):
        print(json.dumps({"features": name, "protocols": len(pairs)} | row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
