"""Labels in other languages are named once; English lists never are."""

from __future__ import annotations

import logging

import pytest

from vlar.files import resources
from vlar.language.bank import load_bank
from vlar.language.clean import clean_label
from vlar.language.labels import foreign_labels, parse_labels

BANKS = resources.names("text_banks", ".json")
FOREIGN = {
    "German": "Gitarre spielen, Fahrrad fahren, eine Tür öffnen, sich setzen, laufen",
    "French": "jouer de la guitare, faire du vélo, ouvrir une porte, s'asseoir, courir",
    "Spanish": "tocar la guitarra, montar en bicicleta, abrir la puerta, sentarse, correr",
    "Italian": "suonare la chitarra, andare in bicicletta, aprire la porta, correre",
    "Portuguese": "tocar violão, andar de bicicleta, abrir a porta, pular",
    "Dutch": "gitaar spelen, fietsen, een deur openen, zwemmen",
    "Chinese": "弹吉他, 骑自行车, 开门",
    "Japanese": "ギターを弾く, 走る",
    "Russian": "играть на гитаре, бегать",
    "Arabic": "ركوب الدراجة",
}


@pytest.mark.parametrize("bank", BANKS)
def test_no_label_of_a_bank_is_flagged(bank: str):
    entries = load_bank(bank).entries
    texts = [entry.text for entry in entries]
    assert [texts[place] for place in foreign_labels(texts)] == []
    names = [*texts, *(alias for entry in entries for alias in entry.aliases)]
    assert [name for name in names if foreign_labels([name])] == []


@pytest.mark.parametrize("language", FOREIGN)
def test_labels_of_another_language_are_flagged(language: str):
    texts = [clean_label(label) for label in FOREIGN[language].split(", ")]
    assert foreign_labels(texts) == list(range(len(texts)))
    assert all(foreign_labels([text]) == [0] for text in texts)


@pytest.mark.parametrize(
    "labels",
    [
        "frobnicate",
        "frobnicating",
        "quantum chromodynamics",
        "running, frobnicate, jumping",
        "cooking crème brûlée",
        "café",
        "tai chi, capoeira, yoga",
        "A1, A2, A3",
        "DJ, TV, UFO",
        "ski, skate, surf",
        "Anna, Tom",
    ],
)
def test_rare_words_names_and_loan_words_are_not_flagged(labels: str):
    assert foreign_labels([clean_label(label) for label in labels.split(", ")]) == []


def test_one_foreign_label_among_english_ones_is_named():
    assert foreign_labels(["running", "gitarre spielen", "open the door"]) == [1]


def test_a_list_of_unknown_words_is_flagged():
    assert foreign_labels(["hoppeln", "rudern", "klettern"]) == [0, 1, 2]


def test_the_warning_comes_once_for_a_list(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "vlar"):
        parse_labels("Seil springen, 跳绳, jumping rope")
        parse_labels("Seil springen, 跳绳, jumping rope")
    assert len(caplog.messages) == 1
    assert "'seil springen', '跳绳'" in caplog.messages[0]
    assert "jumping rope" not in caplog.messages[0]
    assert "translate" in caplog.messages[0]


def test_english_lists_and_banks_give_no_warning(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "vlar"):
        parse_labels("playing guitar, riding a bike, opening a door")
        parse_labels("bank:ucf101")
    assert caplog.messages == []
