from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.refusals import refused
from vlar.errors import LabelError, UnknownNameError
from vlar.files import resources
from vlar.language.bank import Description, load_bank
from vlar.language.bank_schema import checked
from vlar.language.clean import clean_label
from vlar.language.labels import parse_labels


def bank_file(tmp_path, **changes: Any):
    bank = {
        "format": 1,
        "name": "mine",
        "licence": "CC0",
        "provenance": {"source": "me"},
        "entries": [
            {
                "label": "ApplyEyeMakeup",
                "domain": "hygiene",
                "aliases": ["put on mascara"],
                "descriptions": [
                    {"kind": "sentence", "text": "A brush goes along the lashes."},
                    {"kind": "objects", "text": "brush, mirror"},
                ],
            }
        ],
    } | changes
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({k: v for k, v in bank.items() if v is not None}))
    return path


def test_all_fields_arrive(tmp_path):
    bank = load_bank(bank_file(tmp_path))
    (entry,) = bank.entries
    assert (bank.name, bank.licence, bank.provenance) == ("mine", "CC0", {"source": "me"})
    assert bank.texts == ("apply eye makeup",)
    assert (entry.domain, entry.aliases) == ("hygiene", ("put on mascara",))
    assert entry.descriptions[1] == Description("objects", "brush, mirror")
    assert entry.describe("sentence") == ("A brush goes along the lashes.",)
    assert entry.describe("motion") == ()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format": 2}, "format"),
        ({"name": None}, "name"),
        ({"provenance": {}}, "provenance"),
        ({"entries": []}, "entries"),
        ({"entries": [{"label": "a"}, {"label": " "}]}, "entries.1.label"),
        ({"entries": [{"label": 3}]}, "entries.0.label"),
        ({"entries": [{"label": "a", "descripton": []}]}, "entries.0.descripton"),
        ({"entries": [{"label": "a", "descriptions": ["x"]}]}, "entries.0.descriptions.0"),
    ],
)
def test_a_broken_schema_names_file_and_field(tmp_path, changes: dict[str, Any], place: str):
    path = bank_file(tmp_path, **changes)
    error = refused(LabelError, "", load_bank, path)
    assert str(path) in str(error.value)
    assert f"at {place}:" in str(error.value)


def test_files_that_are_no_bank(tmp_path):
    refused(LabelError, "cannot be read", load_bank, tmp_path / "missing.json")
    path = tmp_path / "x.json"
    path.write_text("{")
    refused(LabelError, "Invalid JSON", load_bank, path)
    refused(UnknownNameError, "everyday_actions", load_bank, "everyday")


@pytest.mark.parametrize("name", resources.names("text_banks", ".json"))
def test_every_packaged_bank_is_a_label_list(name: str):
    path = resources.find("text_banks", name, ".json")
    checked(path, path.read_bytes())  # load_bank trusts the packaged ones
    bank = load_bank(name)
    assert bank.name == name
    assert bank.licence == "Apache-2.0"
    assert len(parse_labels(f"bank:{name}")) == len(bank.entries), "two labels read the same"


def test_the_background_bank_is_broad_and_clean():
    bank = load_bank("everyday_actions")
    assert bank.licence == "Apache-2.0"
    assert 600 <= len(bank.entries) <= 800
    assert len({" ".join(text.casefold().split()) for text in bank.texts}) == len(bank.entries)
    domains = Counter(entry.domain for entry in bank.entries)
    assert None not in domains
    assert len(domains) >= 25
    assert max(domains.values()) <= 0.1 * len(bank.entries)
    for entry in bank.entries:
        assert clean_label(entry.label) == entry.text == entry.label
        (sentence,) = entry.describe("sentence")
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert resources.find("text_banks", "everyday_actions", ".json").stat().st_size < 1_000_000
