"""Detects labels that are not English: the text encoders of most models read English only.

A label is judged by its letters and words. Letters of another script, English function words and
-ing forms decide at once. Otherwise words count as English (they occur in the packaged banks or the
verb table), as foreign (frequent function words and action verbs of other languages, or letters
with marks), or as unknown. A label whose foreign and unknown words outweigh its English ones is not
English if at least one word is foreign. Labels of unknown words alone count only if half of a list
of three or more are not English: one rare English word does not justify a warning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from vlar import resources
from vlar.text.inflection import base_forms

_WORD = re.compile(r"[^\W\d_]+")
# Maps every ASCII byte that is not a letter to a space; bytes of other letters stay.
_LETTERS_ONLY = bytes(byte if byte > 127 or chr(byte).isalpha() else 32 for byte in range(256))
_SHORTEST = 3  # letters; shorter words are alike in many languages
# Function words that no other of these languages has. A label with one of them is English.
_ENGLISH_TEXT = """the with and from into onto off his her their someone something somebody each
other of at over under through up down out"""
_ENGLISH = frozenset(_ENGLISH_TEXT.split())
# Frequent function words and action verbs, without those that English labels hold too.
_GERMAN = """der das und ein eine einen einem einer mit auf zum zur von dem ist nicht sich etwas
jemand beim ins gehen laufen rennen springen essen trinken kochen backen schlafen lesen schreiben
spielen werfen fangen tanzen singen sitzen stehen liegen fallen schwimmen fahren reiten waschen
schneiden winken klatschen treten tragen heben sprechen reden lachen weinen putzen malen"""
_FRENCH = """le la les une du de et avec dans aux en ses sur sous chez quelque quelqu chose asseoir
marcher courir sauter manger boire cuisiner danser chanter dormir lire jouer lancer attraper tomber
nager laver couper saluer applaudir porter soulever parler rire pleurer nettoyer peindre"""
_SPANISH = """el los las unos unas del con algo alguien su sus una uno caminar andar correr saltar
comer beber cocinar bailar cantar dormir leer escribir jugar tocar lanzar atrapar caer nadar montar
lavar cortar saludar aplaudir cargar levantar hablar llorar limpiar pintar abrir cerrar sentarse
levantarse"""
_ITALIAN = """il lo gli della dello delle nel nella sul sulla alla allo qualcosa qualcuno andare
camminare correre saltare mangiare bere cucinare ballare cantare dormire leggere scrivere giocare
suonare lanciare afferrare cadere nuotare lavare tagliare salutare applaudire parlare ridere
piangere pulire dipingere aprire chiudere"""
_PORTUGUESE = """os um uma da dos das na nas nos com ao pelo pela pular cozinhar ler escrever jogar
cair falar rir chorar limpar fechar"""
_DUTCH = """het een en met op naar uit iemand iets zijn haar lopen eten drinken koken zingen slapen
lezen schrijven spelen gooien vangen vallen zwemmen fietsen rijden wassen snijden zwaaien klappen
dragen tillen praten huilen"""
_OTHERS = "och ett som att og det jeg na nie sie jest grać biegać"
_FOREIGN = frozenset(
    " ".join((_GERMAN, _FRENCH, _SPANISH, _ITALIAN, _PORTUGUESE, _DUTCH, _OTHERS)).split()
)


def foreign_labels(texts: Sequence[str]) -> list[int]:
    """Places of the texts that do not look English.

    Args:
        texts: C cleaned label texts.

    Returns:
        Indices into ``texts``, in order.
    """
    verdicts = [_verdict(text) for text in texts]
    unknown = verdicts.count("unknown")
    flagged = {"foreign"}
    if len(texts) > 2 and 2 * (unknown + verdicts.count("foreign")) >= len(texts):
        flagged.add("unknown")
    return [place for place, verdict in enumerate(verdicts) if verdict in flagged]


@lru_cache(maxsize=1 << 14)
def _verdict(text: str) -> str:
    """``english``, ``foreign`` or ``unknown``."""
    if _mostly_other_script(text):
        return "foreign"
    words = [word for word in _WORD.findall(text) if not (len(word) < 6 and word.isupper())]
    words = [word.lower() for word in words]
    if any(word in _ENGLISH or _is_gerund(word) for word in words):
        return "english"
    foreign = sum(_is_foreign(word) for word in words)
    rest = [word for word in words if len(word) >= _SHORTEST and not _is_foreign(word)]
    if not foreign and not rest:  # a number or an abbreviation
        return "english"
    english = sum(_is_known(word) for word in rest)
    if foreign and foreign + len(rest) - english > english:
        return "foreign"
    return "english" if english else "unknown"


def _mostly_other_script(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    other = sum(not unicodedata.name(c, "").startswith("LATIN") for c in letters)
    return 2 * other > len(letters)


def _is_foreign(word: str) -> bool:
    return word in _FOREIGN or (not word.isascii() and not _is_known(word))


def _is_gerund(word: str) -> bool:
    return word.endswith("ing") and len(base_forms(word)) > 1


def _is_known(word: str) -> bool:
    """Whether a word, or a word it may be an inflection of, occurs in the packaged texts."""
    forms = {form.encode() for form in base_forms(word)}
    # The banks are ten times as large, and most labels are verbs of motion.
    return not forms.isdisjoint(_verb_words()) or not forms.isdisjoint(_bank_words())


@cache
def _verb_words() -> frozenset[bytes]:
    return frozenset(_words_of(resources.find("text_banks", "motion_verbs", ".txt")))


@cache
def _bank_words() -> frozenset[bytes]:
    names = resources.names("text_banks", ".json")
    paths = (resources.find("text_banks", name, ".json") for name in names)
    return frozenset(word for path in paths for word in _words_of(path))


def _words_of(path: Path) -> set[bytes]:
    # On bytes this takes a tenth of the time of a regular expression on text.
    return set(path.read_bytes().lower().translate(_LETTERS_ONLY).split())
