"""Two writers and two readers of one library, with faults, from one seed.

The writers add, replace and remove recordings, compact and retrain; a call of the system of any of
the four may be cut or fail, or kill its process, which then begins again. What must hold:
1. each change of what the library shows is one whole change that a writer had begun;
2. a change that was said to be done was shown;
3. each answer is that of a state that was shown between its begin and its end;
4. at the end ``verify`` finds nothing, and no file stays.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kills import calls, library
from tests.kills.faults import DRAWN
from tests.kills.turns import Actor, Scheduler, Voice
from vlar.errors import LibraryLockedError, VlarError
from vlar.files import replacing
from vlar.library.library import Library
from vlar.library.store import schema
from vlar.library.store.sqlite import SqliteStore

QUESTIONS = ("a walk", "NOT a walk")  # the first is answered by the index, the other by a scan
CHANGES = 4  # of each writer
CHANCE = 1 / 150  # of a fault, at each call that changes a file
_RECORDINGS = 8
_TRIES = 8  # of a change that meets faults
_LOCKED_S = 0.3
_REST_S = 0.005  # of a reader between two questions
_WAL_HEADER = 48  # bytes of the shared memory that name the state which readers see
Rows = dict[str, str]  # of each recording: digest of its vectors


class FakeModel(library.FakeModel):
    """Texts are directions, and a row answers a text by its cosine."""

    def encode_queries(self, texts: Any) -> Any:
        seeds = (int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts)
        return np.concatenate([library.vectors(1, seed) for seed in seeds])

    def match_probability(self, vectors: Any, query: Any) -> Any:
        return (1 + vectors.astype(np.float64) @ query.astype(np.float64)) / 2


@dataclass(frozen=True)
class Change:
    """A change of a library.

    Attributes:
        kind: ``add``, ``remove``, ``compact`` or ``retrain``.
        seeds: By number of a recording, the seed of its vectors; 0 removes it.
        engine: Of ``compact``.
    """

    kind: str
    seeds: dict[int, int]
    engine: str = ""

    @classmethod
    def drawn(cls, draw: random.Random) -> Change:
        kind = draw.choices(["add", "remove", "compact", "retrain"], [6, 3, 2, 1])[0]
        if kind in ("compact", "retrain"):
            return cls(kind, {}, draw.choice(["flat", "ivf", "ivf-sq8"]))
        # One recording: each is there whole or not at all, several are not at once.
        number = draw.randrange(_RECORDINGS)
        return cls(kind, {number: draw.randrange(1, 1 << 30) if kind == "add" else 0})

    def run(self, opened: Library) -> None:
        if self.kind == "add":
            opened.add_vectors([library.made(n, seed) for n, seed in self.seeds.items()])
        elif self.kind == "remove":
            opened.remove([f"/made/{number}.mp4" for number in self.seeds])
        elif self.kind == "compact":
            opened.compact(kind=self.engine)
        else:
            opened.compact(retrain=True)

    def holds(self, rows: Rows) -> bool:
        """Whether rows show what it meant to change."""
        return self.applied(rows) == rows

    def applied(self, rows: Rows) -> Rows:
        """What a library with some rows shows after it."""
        changed = dict(rows)
        for number, seed in self.seeds.items():
            path = f"/made/{number}.mp4"
            changed.pop(path, None)
            if seed:
                changed[path] = library.digest_of(library.made(number, seed))
        return changed


@dataclass(frozen=True)
class Simulated:
    """A run of one seed.

    Attributes:
        steps: Calls of the system at which the actors took turns.
        states: Different contents that the library showed.
        answers: Answers that were compared with those of the states.
        faults: Numbers of faults by kind.
        trace: Digest of all steps in order.
        wrong: What did not hold.
    """

    seed: int
    steps: int
    states: int
    answers: int
    faults: dict[str, int]
    trace: str
    wrong: list[str]


class World:
    """A folder in which simulations run, each on its own copy of one library."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._first = self._root / "first"
        os.environ["VLAR_CACHE"] = str(self._root / "work" / "cache")
        with Library(self._first / "l.vlar", FakeModel()) as opened:
            opened.add_vectors([library.made(number, 1 + number) for number in range(4)])
            opened.compact(kind="ivf")
        for text in QUESTIONS:  # imports all that an answer needs, so that a fork does not
            _answer(self._first / "l.vlar", text)

    def simulate(self, seed: int) -> Simulated:
        """Run one seed, in a process of its own."""
        return Simulated(**calls.apart(lambda: _Run(self._root, self._first, seed).report()))


class _Run:
    def __init__(self, root: Path, first: Path, seed: int) -> None:
        self._root, self._seed, self._work = root, seed, root / "work"
        for folder in ("work", "states"):
            shutil.rmtree(root / folder, ignore_errors=True)
        shutil.copytree(first, self._work)
        (root / "states").mkdir()
        self._over = root / "states" / "over"  # there once both writers are done
        draw = random.Random(seed)
        self._place = self._work / "l.vlar"
        self._plans = {name: [Change.drawn(draw) for _ in range(CHANGES)] for name in "ab"}
        self._done = dict.fromkeys(self._plans, 0)  # changes of each writer that are over
        self._begun: dict[str, tuple[Change, int]] = {}  # with the number of the state it met
        self._asked: dict[str, tuple[str, int]] = {}  # of readers, the same
        self._answers: list[tuple[str, str, int, int, str]] = []
        self._wrong: list[str] = []
        self._seal: tuple[Any, ...] = ()
        self._states: list[Rows] = []
        self._scheduler = Scheduler(self._work, seed, CHANCE)

    def report(self) -> dict[str, Any]:
        """The fields of ``Simulated``."""
        self._look()
        works = {"a": self._write, "b": self._write, "c": self._read_on, "d": self._read_anew}
        actors = [Actor(name, self._named(name, work)) for name, work in works.items()]
        self._scheduler.play(actors, self._seen)
        self._wrong += [*self._strange_answers(), *self._at_the_end()]
        trace = "\n".join(self._scheduler.trace)
        return {
            "seed": self._seed,
            "steps": len(self._scheduler.trace),
            "states": len({_digest(rows) for rows in self._states}),
            "answers": len(self._answers),
            "faults": dict(sorted(self._scheduler.faults.items())),
            "trace": _digest(trace),
            "wrong": [f"seed {self._seed}: {row}" for row in self._wrong],
        }

    def _named(self, name: str, work: Callable[[str, Voice], None]) -> Callable[[Voice], None]:
        errors = self._root / f"errors-{name}.txt"
        errors.unlink(missing_ok=True)

        def begin(voice: Voice) -> None:
            with errors.open("a") as stream:
                os.dup2(stream.fileno(), 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            logging.getLogger("vlar").addHandler(_Warnings(voice))
            replacing._remove_stale.cache_clear()  # as in a process of its own
            work(name, voice)

        return begin

    def _write(self, name: str, voice: Voice) -> None:
        for number in range(self._done[name], CHANGES):
            tries = 0
            while tries < _TRIES:
                voice.say(begun=number)
                try:
                    with Library(self._place, FakeModel()) as opened:
                        self._plans[name][number].run(opened)
                except LibraryLockedError:
                    voice.sleep(_LOCKED_S)
                except (VlarError, OSError) as error:
                    voice.say(refused=repr(error))
                    tries += 1
                else:
                    voice.say(done=number)
                    break
            else:
                voice.say(never=number)

    def _read_on(self, _: str, voice: Voice) -> None:
        """Ask over one connection, which is opened again where that met a fault."""
        while not self._over.exists():
            try:
                with Library(self._place, FakeModel(), create=False) as opened:
                    self._ask(voice, functools.partial(_hits, opened))
            except (VlarError, OSError) as error:
                voice.say(refused=repr(error))

    def _read_anew(self, _: str, voice: Voice) -> None:
        """Open the library for each question."""
        self._ask(voice, functools.partial(_answer, self._place))

    def _ask(self, voice: Voice, answer: Callable[[str], str]) -> None:
        for text in itertools.cycle(QUESTIONS):
            if self._over.exists():
                return
            voice.say(asked=text)
            try:
                voice.say(answer=answer(text))
            except (VlarError, OSError) as error:
                voice.say(refused=repr(error))
            voice.sleep(_REST_S)

    def _seen(self, actor: Actor, said: list[dict[str, Any]]) -> None:
        before = len(self._states) - 1
        self._look()
        for message in said:
            self._hear(actor, message, before)
        if min(self._done.values()) == CHANGES:
            self._over.touch()

    def _hear(self, actor: Actor, message: dict[str, Any], before: int) -> None:
        name, now = actor.name, len(self._states) - 1
        if "begun" in message:
            self._begun[name] = self._plans[name][message["begun"]], before
            actor.met.clear()
        elif "asked" in message:
            self._asked[name] = message["asked"], before
            actor.met.clear()
        elif "answer" in message:
            text, since = self._asked.pop(name)
            self._answers.append((name, text, since, now, message["answer"]))
        elif "done" in message:
            change, since = self._begun.pop(name)
            self._done[name] = message["done"] + 1
            if not any(change.holds(rows) for rows in self._states[since:]):
                self._wrong.append(f"{name} says that {change} is done, and no state shows it")
        elif "refused" in message and actor.met:
            pass
        elif "sleep" not in message and "killed" not in message:
            self._wrong.append(f"{name}: {message}")

    def _look(self) -> None:
        """Keep the state that the library shows, where it is another one."""
        if (seal := self._sealed()) == self._seal:
            return
        self._seal = seal
        copy = self._root / "states" / str(len(self._states))
        copy.mkdir()
        for suffix in ("", "-wal"):
            file = self._place / f"{schema.FILE_NAME}{suffix}"
            if file.exists():
                shutil.copy(file, copy / file.name)
        with Library(copy, FakeModel(), create=False) as opened:
            rows = library.held_by(opened)
        if self._states and rows != self._states[-1]:
            last = self._states[-1]
            if all(change.applied(last) != rows for change, _ in self._begun.values()):
                self._wrong.append(f"{last} became {rows}, begun is {self._begun}")
        self._states.append(rows)

    def _sealed(self) -> tuple[Any, ...]:
        """What differs between two states that readers see."""
        stat = (self._place / schema.FILE_NAME).stat()
        shared = self._place / f"{schema.FILE_NAME}-shm"
        if shared.exists():
            with shared.open("rb") as stream:
                return stat.st_ino, stream.read(_WAL_HEADER)
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _strange_answers(self) -> Iterator[str]:
        folder, count = self._root / "states", len(self._states)
        right = calls.apart(
            lambda: [[_answer(folder / str(n), q) for q in QUESTIONS] for n in range(count)]
        )
        for name, text, since, until, answer in self._answers:
            place = QUESTIONS.index(text)
            if all(right[number][place] != answer for number in range(since, until + 1)):
                yield f"{name} answers {text!r} with that of no state of {since} to {until}"

    def _at_the_end(self) -> Iterator[str]:
        with Library(self._place, FakeModel(), create=False) as opened:
            yield from (f"verify: {fault}" for fault in opened.verify())
            opened.compact(kind="ivf")
            yield from (f"verify after compact: {fault}" for fault in opened.verify())
            if library.held_by(opened) != self._states[-1]:
                yield "compact changes the rows"
        held, expected = (_names(folder) for folder in (self._work, self._root / "first"))
        if more := held - expected:
            yield f"stays: {sorted(more)}"


@contextlib.contextmanager
def _stale() -> Iterator[None]:
    """Make a reader keep the rows that it has seen first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteStore, "data_version", lambda _: 1)
        yield


@contextlib.contextmanager
def _without_transactions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "transaction", lambda *_: contextlib.nullcontext())
        yield


@contextlib.contextmanager
def _without_snapshots() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteStore, "snapshot", lambda _: contextlib.nullcontext())
        yield


CONTROLS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "rows kept for good": _stale,
    "no transactions": _without_transactions,
    "no snapshots": _without_snapshots,
}
"""A part of the library taken out each; some seeds must find it."""


class _Warnings(logging.Handler):
    def __init__(self, voice: Voice) -> None:
        super().__init__(logging.WARNING)
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        self._voice.say(warns=record.getMessage())


def _names(folder: Path) -> set[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*"))
    return {DRAWN.sub("*", str(path)) for path in files if path.parts[0] != "cache"}


def _answer(folder: Path, text: str) -> str:
    with Library(folder, FakeModel(), create=False) as opened:
        return _hits(opened, text)


def _hits(opened: Library, text: str) -> str:
    """Digest of an answer: spans with their probabilities."""
    hits = opened.query(text, k=1000, min_probability=0)
    return _digest([(hit.path, hit.start_s, hit.end_s, round(hit.score, 5)) for hit in hits])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
