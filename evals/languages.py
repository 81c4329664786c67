"""Phrases in other languages and the 101 names of UCF101, with the extra `languages` and without.

    python evals/languages.py [--json results.json]

The 192 phrases of `languages_held.tsv` did not help to choose the wordings of
`text_banks/languages.tsv`, nor its bounds. Phrases that are in the table by chance are counted, and
the others have a figure of their own. The control is the same model that reads the phrases as they
are.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from harness import arguments, store

import vlar
from vlar.files import resources
from vlar.language.bank import load_bank
from vlar.language.foreign import english_of, foreign
from vlar.model.core import concept_vectors

HELD = Path(__file__).with_name("languages_held.tsv")


def main() -> None:
    args = arguments(__doc__, "json")
    model = vlar.load()
    entries = load_bank("ucf101").entries
    names = [entry.text for entry in entries]
    place = {entry.label: number for number, entry in enumerate(entries)}
    header, *rows = (line.split("\t") for line in HELD.read_text(encoding="utf-8").splitlines())
    phrases = [phrase for row in rows for phrase in row[1:]]
    truth = np.array([place[row[0]] for row in rows for _ in header[1:]])
    language = np.array(header[1:] * len(rows))
    vectors = model.encode_text(names)

    def right(queries: np.ndarray) -> np.ndarray:
        return (queries @ vectors.T).argmax(axis=1) == truth

    read = right(model.encode_text(phrases))
    as_written = right(concept_vectors(model.words.encoder, phrases, model.words.prompts))
    understood = np.array([bool(english_of(phrase)) for phrase in phrases])
    table = resources.find("text_banks", "languages", ".tsv").read_text(encoding="utf-8")
    wordings = set(re.split(r"\t| \| |\n", table.casefold()))
    worded_otherwise = np.array([phrase.casefold() not in wordings for phrase in phrases])
    sentences = {text for entry in entries for text in (entry.text, *entry.aliases)}
    store(
        args.json,
        {
            "phrases": len(phrases),
            "nearest_name_right": float(read.mean()),
            "by_language": {one: float(read[language == one].mean()) for one in header[1:]},
            "in_the_table": int(np.sum(~worded_otherwise)),
            "right_of_worded_otherwise": float(read[worded_otherwise].mean()),
            "understood": float(understood.mean()),
            "right_of_understood": float(read[understood].mean()),
            "control_as_written": float(as_written.mean()),
            "recognised_by_letters": float(np.mean([foreign(phrase) for phrase in phrases])),
            "english_changed": sum(bool(english_of(text)) for text in sorted(sentences)),
            "english_texts": len(sentences),
        },
    )


if __name__ == "__main__":
    main()
