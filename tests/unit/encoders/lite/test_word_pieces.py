"""Word pieces are those of the library tokenizers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.encoders.lite import towers
from vlar.encoders.lite.word_pieces import WordPieces

ROOT = Path(__file__).resolve().parents[4]
OLD = [  # blocks without a sign that Unicode got after version 8
    (0x0, 0x61C), (0x61E, 0x7FC), (0x900, 0x9FC), (0xE00, 0xEB0), (0x1E00, 0x1FFF),
    (0x2000, 0x2E42), (0x3000, 0xA7FF), (0xAC00, 0xD7FF), (0xE000, 0xFFFF), (0x1F300, 0x1F64F),
]  # fmt: skip
SIGNS = st.one_of(*(st.characters(min_codepoint=a, max_codepoint=b) for a, b in OLD))
WORDS = st.sampled_from(["Waving", " ", "naïve", "[MASK]", "[sep]", "x" * 101, "STRASSE", "人走"])


@pytest.fixture(scope="module")
def file() -> Path:
    return towers.LITE.verified_path(towers.TOKENIZER.name)


@pytest.fixture(scope="module")
def mine(file: Path) -> WordPieces:
    return WordPieces(file)


@pytest.fixture(scope="module")
def theirs(file: Path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer.from_file(str(file))
    made.no_padding()
    made.no_truncation()
    return lambda text: made.encode(text).ids


def test_signs_of_common_scripts(mine, theirs):
    for first, last in OLD:
        for at in range(first, last + 1, 7):
            if not 0xD800 <= at < 0xE000:
                text = f"ab{chr(at)}cd {chr(at)}"
                assert mine(text) == theirs(text), hex(at)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.one_of(SIGNS, WORDS), max_size=20))
def test_texts(mine, theirs, parts: list[str]):
    text = "".join(parts)
    assert mine(text) == theirs(text)


def test_sentences_of_a_bank(mine, theirs):
    bank = json.loads((ROOT / "text_banks" / "everyday_actions.json").read_text("utf-8"))
    texts = json.dumps(bank, ensure_ascii=False).split('"')
    assert len(texts) > 500
    assert [mine(text) for text in texts] == [theirs(text) for text in texts]


def test_words_are_cut_into_the_longest_pieces(mine, file: Path):
    numbers = json.loads(file.read_text("utf-8"))["model"]["vocab"]
    assert mine("Unaffable!") == [
        numbers[piece] for piece in ("[CLS]", "una", "##ffa", "##ble", "!", "[SEP]")
    ]
    assert mine("x" * 101) == [numbers[piece] for piece in ("[CLS]", "[UNK]", "[SEP]")]
    assert mine("") == [numbers["[CLS]"], numbers["[SEP]"]]
