"""Base forms of inflected English words, sufficient for looking verbs up."""

from __future__ import annotations

from functools import lru_cache

_VOWELS = "aeiou"
# Irregular past forms and participles of verbs of motion.
_IRREGULAR_TEXT = """
be: was were been am is are; beat: beaten; bend: bent; bite: bit bitten; blow: blew blown;
break: broke broken; bring: brought; build: built; catch: caught; climb: clomb; cling: clung;
come: came; creep: crept; dig: dug; dive: dove; draw: drew drawn; drink: drank drunk;
drive: drove driven; eat: ate eaten; fall: fell fallen; feed: fed; fight: fought; flee: fled;
fling: flung; fly: flew flown; get: got gotten; give: gave given; go: went gone; grind: ground;
hang: hung; hide: hid hidden; hold: held; keep: kept; kneel: knelt; lay: laid; lead: led;
lean: leant; leap: leapt; lie: lay lain lying; light: lit; lose: lost; make: made;
meet: met; ride: rode ridden; ring: rang rung; rise: rose risen; run: ran; saw: sawn; say: said;
see: saw seen; sew: sewn; shake: shook shaken; shoot: shot; show: shown; shrink: shrank;
sing: sang sung; sit: sat; sleep: slept; slide: slid; sling: slung; slink: slunk; sow: sown;
speak: spoke spoken; spin: spun; spring: sprang sprung; stand: stood; steal: stole; stick: stuck;
strike: struck stricken; string: strung; stride: strode; sweep: swept; swim: swam swum;
swing: swung; take: took taken; teach: taught; tear: tore torn; throw: threw thrown;
tread: trod trodden; wake: woke woken; weave: wove woven; weep: wept; wind: wound;
wring: wrung; write: wrote written; man: men; woman: women; foot: feet; tooth: teeth;
hand: hands; person: people; child: children; die: dying; tie: tying; ski: skiing skied
"""
_IRREGULAR: dict[str, set[str]] = {}
for _row in _IRREGULAR_TEXT.replace("\n", " ").split(";"):
    _base, _, _forms = _row.partition(":")
    for _form in _forms.split():
        _IRREGULAR.setdefault(_form, set()).add(_base.strip())


@lru_cache(maxsize=1 << 16)
def base_forms(word: str) -> frozenset[str]:
    """All words that ``word`` may be an inflection of, itself included.

    >>> sorted(base_forms("hopping"))
    ['hop', 'hopp', 'hoppe', 'hopping']
    """
    forms = {word} | _IRREGULAR.get(word, set())
    if word.endswith("ies") and len(word) > 4:
        forms.add(word[:-3] + "y")
    if word.endswith("es") and len(word) > 3:
        forms.add(word[:-2])
    if word.endswith("s") and not word.endswith("ss") and len(word) > 2:
        forms.add(word[:-1])
    if word.endswith("ied") and len(word) > 4:
        forms.add(word[:-3] + "y")
    for ending in ("ing", "ed", "er"):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2 or not any(c in _VOWELS + "y" for c in stem):
            continue
        forms |= {stem, stem + "e"}
        if stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
            forms.add(stem[:-1])
    return frozenset(forms)


def gerund(verb: str) -> str:
    """A base form with ``ing``.

    >>> [gerund(verb) for verb in ("run", "wave", "lie", "see", "open", "kick")]
    ['running', 'waving', 'lying', 'seeing', 'opening', 'kicking']
    """
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return f"{verb[:-1]}ing"
    vowels = sum(letter in _VOWELS for letter in verb)
    short = len(verb) >= 3 and vowels == 1 and verb[-2] in _VOWELS and verb[-1] not in "aeiouwxy"
    return f"{verb}{verb[-1]}ing" if short else f"{verb}ing"
