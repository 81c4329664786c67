"""``pointing``: the network of ``refer`` learns whom a sentence means.

It learns from examples with a column ``who``: by the number of the person where the column
``person`` has it, and by the label, which is the action of the person who is meant. A tenth to a
fifth of the examples is held out; where the network points no better there than the measures alone,
it adds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlar.encoders.sentence_tower import sentence_vectors
from vlar.errors import DecodeError, PersonError, SupportError, UsageError
from vlar.heads.support import SupportItem
from vlar.language.clean import clean_label
from vlar.language.referring import parse
from vlar.methods.refer.adapter import Refer, describe, padded
from vlar.model.adapt import Adapted, fit_examples
from vlar.model.adapt_report import TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, check_complete
from vlar.model.method import AdaptTask
from vlar.numeric import softmax
from vlar.people.focus import make_focus
from vlar.people.people import People, find_people
from vlar.people.subject_selection import choose
from vlar.registry import register
from vlar.training.learners import Learner
from vlar.types import Encoded, Failure, Float32, Float64

STEPS, RATE, DECAY = 300, 2e-3, 0.05
_HELD_OUT = 5  # every fifth group
_LEAST_GROUPS = 5
_FLOOR = 1e-6


@dataclass(frozen=True)
class PointingRow:
    """One example, with its people as arrays.

    Attributes:
        item: The example.
        people: (K, F) what the network reads of K people.
        whole: (D,) vector of the whole picture.
        cuts: Each person's cut, encoded.
        measured: (K,) probability of each person by the measures.
        place: Number of the person who is meant, from 0; None where it is not known.
    """

    item: SupportItem
    people: Float32
    whole: Float32
    cuts: Sequence[Encoded]
    measured: Float64
    place: int | None


@register("learner", "pointing", status="in the spirit")
class PointingLearner(Learner):
    """Train ``refer`` to point; the labels are then learned from the people it points at."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Train the pointing network of ``refer`` from examples.

        Raises:
            SupportError: an example does not name the person, or no example of a label can be read.
            UsageError: objectives or unlabelled clips are given.
        """
        support = task.support
        if task.objectives or task.unlabelled or support is None:
            raise UsageError(
                "method 'refer' has no objectives and uses no unlabelled clips; leave them out"
            )
        for item in task.items:
            if not item.who:
                raise SupportError(
                    f"{support.source}: {item.path} does not say who is meant; add a "
                    "column 'who', such as 'the person on the left'"
                )
        begin = time.process_time()
        adapter = Refer.attach(core.encoder, task.settings)
        rows, failed = read_rows(core, task)
        held_out, loss, steps = train(adapter, core, rows, support.labels, task.seed)
        after = ModelCore(adapter, templates=core.template_set)
        chosen = [_place(adapter, row) for row in rows]
        examples = EncodedExamples(
            [row.item for row in rows],
            [row.cuts[chosen_index] for row, chosen_index in zip(rows, chosen, strict=True)],
            tuple(failed),
        )
        check_complete(support, examples)
        adapted = fit_examples(after, support.labels, examples, "auto", task.unknown, task.balance)
        report = TrainingReport(
            method=task.method.name,
            recipe="pointing",
            steps=steps,
            parameters=sum(p.numel() for p in adapter.network.parameters()),
            loss=loss,
            seconds=round(time.process_time() - begin, 1),
            held_out=held_out,
        )
        return Adapted(after, adapted.head, replace(adapted.report, training=report))


def read_rows(core: ModelCore, task: AdaptTask) -> tuple[list[PointingRow], list[Failure]]:
    """The examples with their people; a recording that comes again is searched once."""
    progress = task.progress
    if progress is not None:
        progress(0, total=len(task.items))
    sampler = core.view_sampler.one_view
    focus = make_focus("person 1")
    assert focus is not None
    read_people: dict[object, tuple[People, list[Encoded]]] = {}
    rows: list[PointingRow] = []
    failed: list[Failure] = []
    for item in task.items:
        try:
            key = item.path, item.window
            if key not in read_people:
                (clip,) = sampler.sample(item.path, item.window)
                people = find_people(
                    clip, focus.detector, source=sampler.reader, moving=focus.moving
                )
                cuts = [
                    people.cut_out(person_index, clip) for person_index in range(len(people.tracks))
                ]
                read_people[key] = people, core.encode([*cuts, clip])
            rows.append(_row(item, *read_people[key]))
        except (DecodeError, PersonError) as error:
            failed.append(Failure(item.path, error.kind, error.message))
        if progress is not None:
            progress(1)
    return rows, failed


def _row(item: SupportItem, people: People, encoded: Sequence[Encoded]) -> PointingRow:
    """An example with the people of its recording.

    Raises:
        PersonError: nobody is found, or fewer people than its numbers require.
    """
    count = len(people.tracks)
    if not count or (item.person or 1) > count:
        raise PersonError(
            f"{item.path}: {count} people are found, and the example is about "
            f"{item.who!r}; leave it out"
        )
    colours = people.colours()
    measured = choose(people.tracks, parse(item.who), colours).weights
    vectors = np.stack([row.vector for row in encoded])
    return PointingRow(
        item,
        describe(people, vectors[:-1], colours),
        vectors[-1],
        encoded[:-1],
        measured,
        None if item.person is None else item.person - 1,
    )


def train(
    adapter: Refer,
    core: ModelCore,
    rows: Sequence[PointingRow],
    labels: Sequence[str],
    seed: int,
    *,
    measures: bool = True,
    steps: int = STEPS,
) -> tuple[float | None, float, int]:
    """Train the network on examples; it is left at its start where it does not help.

    Args:
        adapter: At its start.
        core: Encodes the labels.
        rows: The examples.
        labels: C labels.
        seed: Seed of the start of the pointer.
        measures: Whether it adds to what is measured; without, it points by itself alone.
        steps: Steps of gradient descent.

    Returns:
        Share of held-out examples whose person it points at (None where no numbers are known or
        there are too few groups), the last loss, and the number of steps.
    """
    data = _tensors(adapter, core, rows, labels, measures)
    groups = sorted({row.item.group for row in rows})
    out = np.array([groups.index(row.item.group) % _HELD_OUT == 0 for row in rows])
    known_mask = np.array([row.place is not None for row in rows])
    checks = len(groups) >= _LEAST_GROUPS and bool((out & known_mask).any()) and bool((~out).any())
    start = {name: value.clone() for name, value in adapter.network.state_dict().items()}
    held_out = None
    if checks:
        _descend(adapter, data, np.flatnonzero(~out), seed, steps)
        held_rows = np.flatnonzero(out & known_mask)
        with torch.inference_mode():
            guesses = _logits(adapter, data).argmax(dim=1).numpy()[held_rows]
            before = data["measured"].argmax(dim=1).numpy()[held_rows]
        truth = data["place"].numpy()[held_rows]
        held_out, measured = float((guesses == truth).mean()), float((before == truth).mean())
        adapter.network.load_state_dict(start)
        if measures and held_out <= measured:
            adapter.refresh()
            return measured, float(_loss(adapter, data, slice(None))), 0
    loss = _descend(adapter, data, np.arange(len(rows)), seed, steps)
    adapter.refresh()
    return held_out, loss, steps


def _tensors(
    adapter: Refer,
    core: ModelCore,
    rows: Sequence[PointingRow],
    labels: Sequence[str],
    measures: bool,
) -> dict[str, Tensor]:
    """All examples as tensors of one size."""
    most = adapter.config.people
    people, mask = padded([row.people for row in rows], most)
    concepts = core.encode_labels([clean_label(label) for label in labels])
    says = np.full((len(rows), most, len(labels)), _FLOOR, np.float32)
    measured = np.full((len(rows), most), _FLOOR, np.float32)
    target = np.full(len(rows), -1, np.int64)
    for index, row in enumerate(rows):
        vectors = np.stack([cut.vector for cut in row.cuts])[:most]
        fit = core.encoder.logit_scale * vectors @ concepts.T
        says[index, : len(vectors)] = softmax(fit)
        measured[index, : len(vectors)] = row.measured[:most]
        target[index] = -1 if row.place is None or row.place >= most else row.place
    if not measures:
        measured = mask / np.maximum(mask.sum(axis=1, keepdims=True), 1)
    names = list(labels)
    arrays = {
        "people": people,
        "whole": np.stack([row.whole for row in rows]),
        "text": sentence_vectors([row.item.who for row in rows]),
        "there": mask,
        "says": says,
        "measured": np.log(np.maximum(measured, _FLOOR)).astype(np.float32),
        "place": target,
        "label": np.array([names.index(row.item.label) for row in rows], np.int64),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _logits(adapter: Refer, data: dict[str, Tensor], rows: Any = slice(None)) -> Tensor:
    """(N, K) of the network and the measures together."""
    pointed = adapter.network(
        data["people"][rows], data["whole"][rows], data["text"][rows], data["there"][rows]
    )
    return pointed + data["measured"][rows]


def _loss(adapter: Refer, data: dict[str, Tensor], rows: Any) -> Tensor:
    """Loss of the right person where known, and of the label of the person pointed at."""
    logits = _logits(adapter, data, rows)
    target, label = data["place"][rows], data["label"][rows]
    weights = logits.softmax(dim=1)
    mixed = (weights[..., None] * data["says"][rows]).sum(dim=1)
    of_label = -mixed.clamp_min(_FLOOR).log().gather(1, label[:, None]).mean()
    known_mask = target >= 0
    if not known_mask.any():
        return of_label
    return torch.nn.functional.cross_entropy(logits[known_mask], target[known_mask]) + of_label


def _descend(
    adapter: Refer, data: dict[str, Tensor], rows: np.ndarray, seed: int, steps: int
) -> float:
    """Gradient descent over all the rows at once; returns the last loss."""
    network, chosen = adapter.network, torch.from_numpy(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.train().requires_grad_(True)
        with torch.no_grad():
            network.gain.fill_(0.5)
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        loss = torch.zeros(())
        for _ in range(steps):
            optimiser.zero_grad()
            loss = _loss(adapter, data, chosen)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
    network.eval().requires_grad_(False)
    return float(loss.detach())


def _place(adapter: Refer, row: PointingRow) -> int:
    """The person of an example: the one it names, else the one who is pointed at."""
    if row.place is not None:
        return row.place
    return int(row.measured.argmax())
