"""Named concepts: they answer like the judgements they were taught by, in every query."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel
from tests.unit.library.query.test_figures_of_hits import AskedFake
from tests.unit.library.query.test_newcomer_errors import library_of
from vlar.errors import UsageError
from vlar.library.library import Library
from vlar.library.query import concepts
from vlar.library.query.concepts import Concept


def test_a_concept_ranks_as_its_judgements_did_and_joins_with_operators(tmp_path: Path):
    with library_of(tmp_path, AskedFake(), 12) as library:
        plain = library.query("a cat", 6)
        refined = library.refine("a cat", yes=[plain[3]], no=[plain[0]], k=200)
        made = concepts.save(library._connection, "Our  Cat", "a cat", [plain[3]], [plain[0].row])
        assert made.to_dict() == {"name": "Our Cat", "text": "a cat", "yes": 1, "no": 1}
        named = library.query("our cat", 200)
        both = library.query('"our cat" AND NOT "a dog"', 5, min_probability=0)
        again = library.refine("our cat", yes=[named[1]], k=5)
    judged = {plain[0].path, plain[3].path}
    rest = [(hit.row, hit.probability) for hit in named if hit.path not in judged]
    same = [(hit.row, hit.probability) for hit in refined if hit.path not in judged]
    assert [row for row, _ in rest] == [row for row, _ in same]
    assert [p for _, p in rest] == pytest.approx([p for _, p in same], abs=1e-5)
    assert both[0].parts[0].phrase == "our cat"
    assert again
    with Library(tmp_path / "l.vlar", AskedFake()) as library:
        assert [hit.row for hit in library.query("our cat", 200)] == [hit.row for hit in named]
        concepts.remove(library._connection, "OUR CAT")
        refused(UsageError, "no concept", concepts.remove, library._connection, "our cat")
        assert concepts.concepts(library._connection.nonempty()[0]) == {}


def test_a_concept_goes_on_with_what_it_learned(tmp_path: Path):
    with library_of(tmp_path, AskedFake(), 12) as library:
        plain = library.query("a cat", 6)
        kept = library.concepts
        first = kept.save("ours", "a cat", yes=[plain[3]], no=[plain[0]])
        assert [(key, each.name) for key, each in library.concepts.items()] == [("ours", "ours")]
        assert kept["OURS"].text == "a cat"
        refined = library.refine("ours", yes=[plain[5]], k=200)
        more = kept.save("Ours", "ours", yes=[plain[5]])
        assert more.to_dict() == {"name": "Ours", "text": "a cat", "yes": 2, "no": 1}
        assert not np.array_equal(more.shift, first.shift)
        named = {hit.row: hit.probability for hit in library.query("ours", 200, min_probability=0)}
        kept.remove("ours")
        assert len(kept) == 0
    same = {hit.row: hit.probability for hit in refined if hit.path != plain[5].path}
    assert same
    assert {row: named[row] for row in same} == pytest.approx(same, abs=1e-5)


@pytest.mark.parametrize("name", ["", "  ", 'a "b"', "x" * 101, "[a]", "a|b"])
def test_a_name_that_queries_cannot_write_is_refused(tmp_path: Path, name: str):
    with library_of(tmp_path, FakeModel(), 3) as library:
        with pytest.raises(UsageError, match="cannot name a concept"):
            concepts.save(library._connection, name, "a cat", [1])
        refused(UsageError, "with judgements", concepts.save, library._connection, "fine", "a cat")


def test_a_concept_of_another_model_is_refused_and_a_damaged_one_is_not_there(tmp_path: Path):
    with library_of(tmp_path, FakeModel(), 3) as library:
        made = concepts.save(library._connection, "ours", "a cat", [1])
        facts = json.loads(made.to_json())
        texts = {
            "concept:other": json.dumps({**facts, "name": "other", "fingerprint": "x"}),
            "concept:cut": made.to_json()[:50],
            "concept:wrong": json.dumps({**facts, "shift": "AAA"}),
            "concept:nan": json.dumps({**facts, "gain": float("nan")}),
        }
        with library._connection.writing() as writer, writer.transaction():
            writer.set_meta(texts)
        assert set(concepts.concepts(library._connection.nonempty()[0])) == {"ours", "other"}
        refused(UsageError, "judge hits again", library.query, "other")
        assert library.query("ours", min_probability=0)
    kept = Concept.from_json(made.to_json())
    assert kept is not None
    assert kept.to_dict() == made.to_dict()
