"""Value of captions: labels and searches by sentences, alone and fused with vectors.

    python evals/captions.py --data DIR [--cache DIR] [--json OUT]

DIR is as for ``semantic_map.py``. Captions are those of ``concepts``, from the same frame features
that the vectors of ``lite`` are made of: so they hold nothing that the vectors lack. Nothing is
fitted; odd groups are "report", even ones "choose" (the weight of the fusion was not tuned: equal).

Classification (top-1 and top-5 in percent, labels of one set in one list): by names; by the mean,
the best, and the joined text of ten sentences of the banks a label; by captions of other clips
(shuffled: must be at chance, over 20 shuffles); by the vectors of ``lite``; by both, z-scored.

Search (mean average precision over labels as queries, all clips in one library): by vectors, by
words of captions (``says:``), by sentence vectors of captions, and by reciprocal rank fusion of
vectors with either; with captions shuffled.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, echo, half_of, store
from many_descriptions import told
from ranked import mean_average_precision
from semantic_map import load
from words_features import remember_texts

import vlar
from vlar.encoders.caption_space import CaptionedEncoder
from vlar.encoders.captions import load_captioner, one_text
from vlar.encoders.sentence_tower import sentence_vectors
from vlar.language.labels import parse_labels
from vlar.library.query.caption_search import reciprocal_rank_fusion, said
from vlar.model.label_heads import label_vectors
from vlar.numeric import unit
from vlar.types import Encoded

SETS = ("jhmdb", "ucf101", "something-something-v2", "weizmann")
SHUFFLES = 20


def top(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Top-1 and top-5 in percent, and the standard error of top-1 over clips."""
    rank = (scores > scores[np.arange(len(truth)), truth][:, None]).sum(axis=1)
    share = float((rank < 1).mean())
    error = float(np.sqrt(share * (1 - share) / len(truth)))
    return {
        "top1": round(100 * share, 1),
        "error": round(100 * error, 1),
        "top5": round(100 * float((rank < 5).mean()), 1),
    }


def standardised(scores: np.ndarray) -> np.ndarray:
    """Each clip's scores with mean 0 and deviation 1 over the labels."""
    return (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)


def classify(model, encoder: CaptionedEncoder, vectors, spoken, labels) -> dict[str, Any]:
    """Figures of one set."""
    listed = sorted(set(labels))
    truth = np.array([listed.index(label) for label in labels])
    told_of = told(listed)
    names = encoder.encode_text(listed)
    kept = [encoder.sentences(label, told_of[label]) or [label] for label in listed]
    single = [sentence_vectors(rows) for rows in kept]
    ways = {
        "names": names,
        "mean of sentences": unit(np.stack([rows.mean(axis=0) for rows in single])),
        "joined text": sentence_vectors([" ".join(rows) for rows in kept]),
    }
    scores = {how: spoken @ text.T for how, text in ways.items()}
    scores["best sentence"] = np.stack([(spoken @ rows.T).max(axis=1) for rows in single], axis=1)
    lite = model.scorer(*label_vectors(model, parse_labels(listed))).score(vectors).similarity
    found: dict[str, Any] = {"clips": len(truth), "labels": len(listed)}
    found["chance"] = round(100 / len(listed), 1)
    found |= {how: top(rows, truth) for how, rows in scores.items()}
    found["lite"] = top(lite, truth)
    both = standardised(lite) + standardised(scores["mean of sentences"])
    found["lite + captions"] = top(both, truth)
    random = np.random.default_rng(0)
    shares = [
        (scores["mean of sentences"][random.permutation(len(truth))].argmax(axis=1) == truth).mean()
        for _ in range(SHUFFLES)
    ]
    found["shuffled"] = {"top1": round(100 * float(np.mean(shares)), 1)}
    return found


def fused(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, Q) reciprocal rank fusion of two scores, as ``--rerank captions`` does it; a clip that
    the second does not find (0 or less) has no rank there."""
    rows = np.zeros_like(first, dtype=np.float64)
    for query in range(first.shape[1]):
        order = np.argsort(-first[:, query], kind="stable").tolist()
        there = np.argsort(-second[:, query], kind="stable").tolist()
        there = [row for row in there if second[row, query] > 0]
        for row, value in reciprocal_rank_fusion([order, there]).items():
            rows[row, query] = value
    return rows


def search(model, vectors, texts: list[str], spoken, labels) -> dict[str, Any]:
    """Mean average precision over labels as queries."""
    listed = sorted(set(labels))
    truth = np.array([listed.index(label) for label in labels])
    queries = model.encode_queries(listed)
    by_vector = np.stack([model.match_probability(vectors, q) for q in queries], axis=1)
    captions = dict(enumerate(texts))
    by_words = np.zeros_like(by_vector)
    begin = time.process_time()
    for column, label in enumerate(listed):
        for row, value in said(label, captions).items():
            by_words[row, column] = value
    seconds = (time.process_time() - begin) / len(listed)
    by_sentence = spoken @ sentence_vectors(listed).T
    mixed = np.random.default_rng(0).permutation(len(truth))
    ways = {
        "vectors": by_vector,
        "words of captions": by_words,
        "sentences of captions": by_sentence,
        "vectors + words": fused(by_vector, by_words),
        "vectors + sentences": fused(by_vector, by_sentence),
        "vectors + shuffled words": fused(by_vector, by_words[mixed]),
        "shuffled words": by_words[mixed],
    }
    found = {how: round(100 * mean_average_precision(rows, truth), 1) for how, rows in ways.items()}
    random = np.random.default_rng(1)
    for how in ("vectors + words", "vectors + sentences"):  # paired bootstrap over clips
        away = []
        for _ in range(200):
            rows = random.integers(0, len(truth), len(truth))
            pair = [mean_average_precision(ways[w][rows], truth[rows]) for w in (how, "vectors")]
            away.append(100 * (pair[0] - pair[1]))
        low, high = np.percentile(away, [2.5, 97.5])
        found[f"{how}, over vectors"] = [round(float(low), 1), round(float(high), 1)]
    return {
        "clips": len(truth),
        "queries": len(listed),
        "seconds a query": round(seconds, 4),
        **found,
    }


def main() -> None:
    options = arguments(
        __doc__, "cache", "json",
        data={"type": Path, "required": True, "help": "folder with videos/ and clips/"},
    )  # fmt: skip
    model = vlar.load("lite")
    remember_texts(model.encoder)
    clips = load(options.data, model, options.cache)
    captioner = load_captioner("concepts")
    vectors = model.encoder.pool(clips.features)
    rows = zip(clips.features, vectors, strict=True)
    texts = [one_text(captioner.caption_encoded(Encoded(f, v))) for f, v in rows]
    begin = time.process_time()
    spoken = sentence_vectors([text.lower() for text in texts])
    cost = 1000 * (time.process_time() - begin) / len(texts)
    encoder = CaptionedEncoder(captioner, sentence_vectors)
    same = 1 - len(set(texts)) / len(texts)
    results: dict[str, Any] = {"ms a caption": round(cost, 1), "same caption": round(same, 3)}
    results["examples"] = texts[:3]
    echo(results)
    for name in SETS:
        here = clips.sets == name
        found = classify(model, encoder, vectors[here], spoken[here], clips.labels[here].tolist())
        results[name] = found
        echo(name, found)
    half = half_of(clips.groups)
    for part, which in (("choose", half == 0), ("report", half == 1)):
        words = [text for text, there in zip(texts, which, strict=True) if there]
        labels = clips.labels[which].tolist()
        results[f"search, {part}"] = search(model, vectors[which], words, spoken[which], labels)
        echo(part, results[f"search, {part}"])
    store(options.json, {"fingerprint": model.fingerprint, **results})


if __name__ == "__main__":
    main()
