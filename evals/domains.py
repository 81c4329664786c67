"""Other domains: a folder of the new set without labels, and sets that nobody has filmed yet.

    python evals/domains.py [adapt] [unseen] --shared DIR --cache DIR [--seeds 5] [--epochs 60]
        [--pairs utd:msr ...] [--rows EXPRESSION] [--json FILE]

DIR holds ``modalities``, ``videos`` and ``clips``, each with a ``manifest.csv``. A result is kept
in ``--json`` for each question, row and seed and is not measured again.

adapt      one set of joints teaches with labels, another one gives clips without: UTD-MHAD to
           MSR-Action3D and back (eleven labels), and to NW-UCLA (four). Words alone, ``auto`` and
           ``temporal`` on the source alone, ``cir`` on it with its people as domains, the network
           of ``transvae`` on the source alone, TranSVAE and source-free with their terms,
           ``temporal`` on labels of half of the target's people (ceiling).
models     the same pairs as a user runs them, from files: a ``local-temporal`` model of the source
           (with its closed form), and ``source-free`` on half of the target's people, all asked of
           the other half; what the model states of itself without a label, and which one it takes.
           Control: target clips of other labels, from which nothing can be learned about these.
unseen     all sets but one teach, the last one is asked: walking, running, waving, clapping and
           jumping of Weizmann, J-HMDB, colour of UTD-MHAD and KTH (one clip, which only teaches);
           and joints of UTD-MHAD with its people as domains, asked on MSR-Action3D. ``temporal``
           plain, with CORAL, with ``cir`` and its terms, and on labels of the target (ceiling).

Controls: the domains of the clips shuffled, the sentences of the clips permuted, the labels of the
examples shuffled (chance). The trained similarity answers alone. Figures are top-1; the interval is
over people drawn with replacement, each clip with its mean over the seeds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from cached import features_of
from harness import Namespace, arguments, some, store, stored
from sensors import SHARED, SHARED_WITH_UCLA, Set, read_set, setting

import vlar
from vlar import registry
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.heads.targets import Targets
from vlar.methods.cir.objective import attention, mask
from vlar.metrics.intervals import bootstrap, paired
from vlar.model.core import ModelCore
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, train
from vlar.training.fusion_weights import train_on
from vlar.training.objectives import Objective, Step
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask

PAIRS = ("utd:msr", "msr:utd", "utd:ucla")
LABELS = {
    "walking": "walking", "running": "running", "jumping in place": "jumping",
    "jumping forward on two legs": "jumping", "jumping": "jumping", "waving one hand": "waving",
    "waving both hands": "waving", "waving a hand": "waving", "wave": "waving",
    "clapping hands": "clapping", "clap": "clapping",
}  # fmt: skip
PICTURES = {"weizmann": "weizmann", "jhmdb": "jhmdb", "J-HMDB": "jhmdb", "kth": "kth"}


@registry.register("objective", "coral")
@dataclass
class Coral(Objective):
    """Covariances of the vectors of domains are drawn together (Sun and Saenko 2016)."""

    weight: float = 1.0
    name: ClassVar[str] = "coral"

    def terms(self, step: Step) -> Mapping[str, torch.Tensor]:
        """Mean squared distance of the covariances of each two domains, over 4 D^2."""
        x = step.batch.labelled(step.vectors) * step.vectors.shape[1] ** 0.5
        names = np.array([facts["domain"] for facts in step.batch.facts])
        parts = [x[names == name] for name in sorted(set(names)) if (names == name).sum() > 1]
        c = [torch.cov(part.T, correction=0) for part in parts]
        pairs = [(a - b).square().sum() for i, a in enumerate(c) for b in c[:i]]
        return (
            {"distance": self.weight * torch.stack(pairs).mean() / (4 * x.shape[1] ** 2)}
            if pairs
            else {}
        )


@dataclass
class Clips:
    """Clips of several sets; all arrays have a row a clip."""

    encoder: Any
    features: np.ndarray
    y: np.ndarray
    who: np.ndarray
    domain: np.ndarray
    texts: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """All labels, sorted."""
        return sorted(set(self.y.tolist()))


class Lab:
    """Trains, answers and remembers."""

    def __init__(self, given: Namespace) -> None:
        self.given = given
        fresh = {"vlar": vlar.__version__, "epochs": given.epochs}
        self.found: dict[str, Any] = stored(given.json, fresh)
        self.sets: dict[str, Set] = {}

    def joints(self, source: str, target: str) -> Clips:
        """The shared labels of two sets of joints, under one name each."""
        shared = SHARED if {source, target} == {"utd", "msr"} else SHARED_WITH_UCLA
        parts: list[tuple[Set, str]] = []
        for name in (source, target):
            if name not in self.sets:
                self.sets[name] = read_set(name, self.given.shared / "modalities", self.given.cache)
            part = self.sets[name].part(np.isin(self.sets[name].y, list(shared[name])))
            parts.append((replace(part, y=np.array([shared[name][y] for y in part.y])), name))
        both = [each for each, _ in parts]
        return Clips(
            both[0].encoder, np.concatenate([s.features for s in both]),
            np.concatenate([s.y for s in both]),
            np.concatenate([[f"{n} {w}" for w in s.who] for s, n in parts]),
            np.concatenate([[n] * len(s.y) for s, n in parts]),
        )  # fmt: skip

    def pictures(self) -> Clips:
        """Five labels of four sets, by the offline encoder."""
        model, rows = vlar.load("lite"), []
        for folder in ("videos", "clips", "modalities"):
            with (self.given.shared / folder / "manifest.csv").open(encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    label = LABELS.get(row.get("readable_label") or row["label"])
                    domain = next(
                        (n for k, n in PICTURES.items() if row["dataset"].startswith(k)), ""
                    )
                    domain = "utd" if row["path"].startswith("utd_mhad/rgb/") else domain
                    if label and domain:
                        x = features_of(
                            self.given.shared / folder, row["path"], model, self.given.cache
                        )
                        rows.append((x, label, row["group"], domain))
        x, y, who, domain = zip(*rows, strict=True)
        return Clips(model.encoder, np.stack(x), np.array(y), np.array(who), np.array(domain))

    def train(
        self, clips: Clips, rows: np.ndarray, seed: int, *, method: str = "temporal",
        objectives: Mapping[str, Any] | None = None, free: np.ndarray | None = None,
        domain: np.ndarray | None = None, texts: Sequence[str] | None = None,
        y: np.ndarray | None = None,
    ) -> Any:  # fmt: skip
        """One training on some clips; ``free`` are clips without labels."""
        domain, y = clips.domain if domain is None else domain, clips.y if y is None else y
        names = tuple(sorted(set(y[rows].tolist())))
        paths = [Path(str(row)) for row in rows]
        dataset = Dataset.single(names, y[rows].tolist(), clips.who[rows].tolist(), paths)
        facts = [{"domain": str(domain[row])} for row in rows]
        if texts is not None:
            facts = [{**fact, "text": text} for fact, text in zip(facts, texts, strict=True)]
        dataset = replace(dataset, facts=facts)
        task = TrainingTask.by_recipe(clips.encoder, method, seed=seed, objectives=objectives or {})
        # An adversary takes more steps than a classifier.
        epochs = self.given.epochs * (3 if method == "transvae" else 1)
        task = replace(task, numbers=task.numbers.replaced(epochs=epochs, mixup=0.0))
        source = FeatureSource(clips.features[rows])
        if free is not None:
            free_facts = [{"domain": str(domain[row])} for row in free]
            paths = [Path(str(row)) for row in free]
            source = FeatureSource(source.features, clips.features[free], paths, free_facts)
        return train_on(task, dataset, source)[0]

    def row(self, question: str, name: str, seeds: int, measure: Any) -> None:
        """Measure what is missing of a row: for each seed the right answers as 0 and 1."""
        if self.given.rows and not re.search(self.given.rows, name):
            return
        kept = self.found.setdefault(question, {}).setdefault(name, {})
        for seed in range(seeds):
            if str(seed) in kept:
                continue
            found = measure(seed)
            right, more = found if isinstance(found, tuple) else (found, {})
            bits = "".join(str(int(each)) for each in right)
            kept[str(seed)] = {"top1": round(float(np.mean(right)), 4), "right": bits, **more}
            print(
                f"{question}, {name}, seed {seed}: {kept[str(seed)]['top1']:.3f} {more}", flush=True
            )
            store(self.given.json, self.found)

    def table(self, question: str, who: np.ndarray, against: str) -> None:
        """Mean over the seeds, its interval over people, and the gain over another row."""
        rows = self.found.get(question, {})
        bits = {
            name: np.mean([[int(b) for b in one["right"]] for one in kept.values()], axis=0)
            for name, kept in rows.items() if kept
        }  # fmt: skip
        print(f"\n{question}: {len(who)} clips of {len(set(who))} people")
        for name, right in bits.items():
            spread = bootstrap(lambda at, r=right: float(r[at].mean()), who.tolist())
            shown = f"  {name:38s}{100 * right.mean():6.1f}"
            if spread is not None:
                shown += f" ({100 * spread.low:.1f} to {100 * spread.high:.1f})"
            if against in bits and name != against:
                gain = paired(right, bits[against], who.tolist())
                if gain is not None:
                    d = gain.difference
                    shown += f"  {100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
            print(shown, flush=True)


def answers(clips: Clips, training: Any, ask: np.ndarray) -> np.ndarray:
    """(m,) bool, right answers of the trained similarity."""
    logits = held_out_logits(training, clips.features[ask])
    return np.array(training.dataset.labels)[logits.argmax(axis=1)] == clips.y[ask]


def words(clips: Clips, labels: Sequence[str], ask: np.ndarray) -> np.ndarray:
    """(m,) bool, right answers of the texts of the labels alone."""
    concepts = ModelCore(clips.encoder).encode_labels(labels)
    scores = clips.encoder.pool(clips.features[ask]) @ concepts.T
    return np.array(labels)[scores.argmax(axis=1)] == clips.y[ask]


def closed(clips: Clips, teach: np.ndarray, ask: np.ndarray) -> np.ndarray:
    """``auto`` of ``vlar adapt``, learned from some clips."""
    blocks, y = clips.encoder.frame_blocks, clips.y[teach].tolist()
    concepts = ModelCore(clips.encoder).encode_labels(sorted(set(y)))
    shot = clips.encoder.pool(clips.features[teach]) @ concepts.T
    head, _ = choose(
        clips.features[teach],
        blocks,
        y,
        shot,
        labels=sorted(set(y)),
        groups=clips.who[teach].tolist(),
    )
    asked = clips.encoder.pool(clips.features[ask]) @ concepts.T
    logits = head.logits(signature(clips.features[ask], blocks, head.kind), asked)
    return np.array(head.labels)[logits.argmax(axis=1)] == clips.y[ask]


def ceiling(lab: Lab, clips: Clips, ask: np.ndarray, seed: int) -> np.ndarray:
    """Each half of the target's people answered by a training on the labels of the other half."""
    people = sorted(set(clips.who[ask].tolist()))
    first = np.isin(clips.who[ask], np.random.default_rng(seed).permutation(people)[::2])
    right = np.zeros(len(ask), bool)
    for held in (first, ~first):
        right[held] = answers(clips, lab.train(clips, ask[~held], seed), ask[held])
    return right


def probe(vectors: np.ndarray, y: np.ndarray) -> float:
    """Accuracy of a linear probe on clips held out, a fifth of them at a time."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds, right = np.arange(len(y)) % 5, np.zeros(len(y), bool)
    for out in range(5):
        held = folds == out
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        right[held] = model.fit(vectors[~held], y[~held]).predict(vectors[held]) == y[held]
    return float(right.mean())


def latents(clips: Clips, training: Any, rows: np.ndarray) -> dict[str, float]:
    """Probes of the latents for domain and action, and the test of a swap."""
    method, network = training.adapter, training.adapter.network
    with torch.inference_mode():
        moments = network.moments(torch.from_numpy(method.small(clips.features[rows])))
        found = network.latents(moments)
        first = clips.domain[rows] == clips.domain[rows][0]
        means = [moments[torch.from_numpy(at)].mean(dim=(0, 1)) for at in (first, ~first)]
        other = found.static[torch.from_numpy(~first)]
        drawn = np.random.default_rng(0).integers(0, len(other), int(first.sum()))
        swapped = network.decode(other[drawn], found.dynamic[torch.from_numpy(first)]).mean(dim=1)
        near = [(swapped - mean).norm(dim=1) for mean in means]
    parts = {"static": found.static.numpy(), "dynamic": found.dynamic.mean(dim=1).numpy()}
    values = {
        f"{what} from {name}": round(probe(x, of[rows]), 3)
        for name, x in parts.items()
        for what, of in (("domain", clips.domain), ("action", clips.y))
    }
    return {
        **values,
        "swaps nearer to the target": round(float((near[1] < near[0]).float().mean()), 3),
    }


def adapt(lab: Lab) -> None:
    """A labelled set and one without labels."""
    for pair in lab.given.pairs:
        adapt_pair(lab, pair)


def adapt_pair(lab: Lab, pair: str) -> None:
    """The rows of a pair of sets."""
    source, target = pair.split(":")
    clips, seeds = lab.joints(source, target), lab.given.seeds
    teach, ask = (np.flatnonzero(clips.domain == name) for name in (source, target))
    rows = np.concatenate([teach, ask])

    def plain(seed: int, method: str = "temporal", shuffled: bool = False) -> np.ndarray:
        y = clips.y.copy()
        if shuffled:
            y[teach] = np.random.default_rng(seed).permutation(y[teach])
        return answers(clips, lab.train(clips, teach, seed, method=method, y=y), ask)

    def both(seed: int, settings: Any, shuffled: bool = False) -> Any:
        domain = clips.domain
        if shuffled:
            domain = np.random.default_rng(seed).permutation(domain)
        named = {"transvae": {**dict(lab.given.set), **settings}}
        done = lab.train(
            clips, teach, seed, method="transvae", objectives=named, free=ask, domain=domain
        )
        return answers(clips, done, ask), latents(clips, done, rows)

    def people(seed: int, permuted: bool = False) -> np.ndarray:
        texts = np.random.default_rng(seed).permutation(clips.y[teach]) if permuted else None
        named = {"cir": {}}
        done = lab.train(clips, teach, seed, objectives=named, domain=clips.who, texts=texts)
        return answers(clips, done, ask)

    lab.row(pair, "words", 1, lambda _: words(clips, clips.labels, ask))
    lab.row(pair, "auto, source only", 1, lambda _: closed(clips, teach, ask))
    lab.row(pair, "source only", seeds, plain)
    lab.row(pair, "labels shuffled", seeds, lambda seed: plain(seed, shuffled=True))
    lab.row(pair, "transvae, source only", seeds, lambda seed: plain(seed, "transvae"))
    lab.row(pair, "transvae", seeds, lambda seed: both(seed, {}))
    lab.row(pair, "transvae, domains shuffled", seeds, lambda seed: both(seed, {}, True))
    for term in ("rebuild", "information", "triplet", "adversary"):
        lab.row(pair, f"transvae without {term}", seeds, lambda s, t=term: both(s, {t: 0.0}))
    alone = dict.fromkeys(("rebuild", "information", "triplet"), 0.0)
    lab.row(pair, "adversary alone (DANN)", seeds, lambda seed: both(seed, alone))
    lab.row(pair, "cir", seeds, people)
    lab.row(pair, "cir, sentences permuted", seeds, lambda seed: people(seed, True))
    lab.row(pair, "target labels", seeds, lambda seed: ceiling(lab, clips, ask, seed))
    if "source-free" in registry.names("adapter"):
        source_free_rows(lab, pair, clips, teach, ask)
    lab.table(pair, clips.who[ask], "source only")


def source_free_rows(lab: Lab, pair: str, clips: Clips, teach: np.ndarray, ask: np.ndarray) -> None:
    """A tower that adapts to the target without clips of the source, and without each term."""
    sources: dict[int, Any] = {}

    def source(seed: int) -> Any:
        if seed not in sources:
            sources[seed] = lab.train(clips, teach, seed, method="local-temporal")
        return sources[seed]

    def adapted(seed: int, settings: Mapping[str, Any], **numbers: Any) -> Any:
        base, labels = source(seed).adapter, source(seed).dataset.labels
        made = type(base).attach(base.encoder, base.settings)
        made.load_state_dict(base.state_dict())
        made.frozen = True
        targets = Targets(labels, np.zeros((len(ask), len(labels)), np.float32))
        paths = [Path(str(row)) for row in ask]
        dataset = Dataset(targets, [str(path) for path in paths], paths)
        task = TrainingTask.by_recipe(
            clips.encoder, "source-free", seed=seed, objectives={"atcon": settings}
        )
        task = replace(task, numbers=task.numbers.replaced(**numbers))
        done, _ = train(
            task, made, dataset, FeatureSource(clips.features[ask]), FitOptions(stack=False)
        )
        answer = held_out_logits(done, clips.features[ask])
        shares = np.exp(answer - answer.max(axis=1, keepdims=True))
        mean = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        spread = float(-(mean * np.log(mean)).sum() / np.log(len(labels)))
        right = np.array(labels)[answer.argmax(axis=1)] == clips.y[ask]
        return right, {"entropy of the mean answer": round(spread, 3)}

    seeds, everything = (
        lab.given.seeds,
        ("information", "centroids", "answers", "video", "features"),
    )
    none = dict.fromkeys(everything, 0.0)
    lab.row(pair, "local-temporal, source only", seeds, lambda s: answers(clips, source(s), ask))
    lab.row(pair, "source-free", seeds, lambda s: adapted(s, {}))
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}  # no weight moves beyond its rounding
    lab.row(pair, "source-free, norms alone", seeds, lambda s: adapted(s, {}, **still))
    for term in everything:
        lab.row(pair, f"source-free without {term}", seeds, lambda s, t=term: adapted(s, {t: 0.0}))
    lab.row(
        pair, "source-free, centroids without texts", seeds, lambda s: adapted(s, {"texts": False})
    )
    only = {**none, "information": 0.5}
    lab.row(pair, "source-free, information alone", seeds, lambda s: adapted(s, only))
    lab.row(pair, "source-free without all terms", seeds, lambda s: adapted(s, none))


def unseen(lab: Lab) -> None:
    """All sets but one teach."""
    pictures = lab.pictures()
    cases = {f"pictures, not {out}": (pictures, out) for out in ("weizmann", "jhmdb", "utd")}
    joints = lab.joints("utd", "msr")
    people = np.where(joints.domain == "utd", joints.who, joints.domain)
    cases["joints of people, asked on msr"] = (replace(joints, domain=people), "msr")
    for question, (clips, out) in cases.items():
        apart(lab, question, clips, out)


def apart(lab: Lab, question: str, clips: Clips, out: str) -> None:
    """The rows of one set that is left out."""
    teach = np.flatnonzero(clips.domain != out)
    labels = sorted(set(clips.y[teach].tolist()))
    ask = np.flatnonzero((clips.domain == out) & np.isin(clips.y, labels))
    seeds = lab.given.seeds

    def train(seed: int, named: Mapping[str, Any], control: str = "") -> Any:
        random = np.random.default_rng(seed)
        domain, texts = clips.domain.copy(), None
        if control == "domains":
            domain[teach] = random.permutation(domain[teach])
        if control == "sentences":
            texts = random.permutation(clips.y[teach]).tolist()
        done = lab.train(clips, teach, seed, objectives=named, domain=domain, texts=texts)
        return answers(clips, done, ask), attended(clips, done, teach)

    lab.row(question, "words", 1, lambda _: words(clips, labels, ask))
    lab.row(question, "auto", 1, lambda _: closed(clips, teach, ask))
    lab.row(question, "plain", seeds, lambda seed: train(seed, {}))
    lab.row(question, "coral", seeds, lambda seed: train(seed, {"coral": {}}))
    lab.row(question, "cir", seeds, lambda seed: train(seed, {"cir": {}}))
    lab.row(question, "cir without text", seeds, lambda seed: train(seed, {"cir": {"text": 0.0}}))
    lab.row(question, "cir without action", seeds, lambda s: train(s, {"cir": {"action": 0.0}}))
    lab.row(
        question,
        "cir, order alone",
        seeds,
        lambda s: train(s, {"cir": {"action": 0.0, "text": 0.0}}),
    )
    lab.row(question, "cir, domains shuffled", seeds, lambda s: train(s, {"cir": {}}, "domains"))
    lab.row(
        question, "cir, sentences permuted", seeds, lambda s: train(s, {"cir": {}}, "sentences")
    )
    lab.row(question, "target labels", seeds, lambda seed: ceiling(lab, clips, ask, seed))
    lab.table(question, clips.who[ask], "plain")


def attended(clips: Clips, training: Any, rows: np.ndarray) -> dict[str, float]:
    """Share of the reconstruction by clips of the same label of other domains, and by chance."""
    f = torch.from_numpy(training.adapter.pool(clips.features[rows]))
    forbidden = mask("domain", {"rows": rows, "domain": clips.domain[rows]})
    same = torch.from_numpy(clips.y[rows][:, None] == clips.y[rows]) & ~forbidden
    used = same.any(dim=1)
    shares = (attention(f, f, forbidden, 0.1) * same).sum(dim=1)[used].mean()
    chance = (same.sum(dim=1) / (~forbidden).sum(dim=1).clamp_min(1))[used].mean()
    return {"attention": round(float(shares), 3), "chance": round(float(chance), 3)}


def main() -> None:
    """Measure what is missing, and print the tables."""
    questions = {"adapt": adapt, "unseen": unseen}
    given = arguments(
        __doc__, "shared", "json",
        questions={"positional": True, "nargs": "*", "default": list(questions)},
        cache=Path("/tmp/vlar-domains"), seeds=5, epochs=60,
        pairs=some(PAIRS, help="SOURCE:TARGET"),
        rows=(str, "expression that the name of a row matches"),
        set=some([], type=setting, help="factors of transvae"),
    )  # fmt: skip
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)
    lab = Lab(given)
    for question in given.questions:
        questions[question](lab)


if __name__ == "__main__":
    main()
