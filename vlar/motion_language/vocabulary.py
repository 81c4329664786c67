"""What a verb table speaks about: the attributes of bodies, or those of hands near the camera."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vlar.motion_language import modifiers
from vlar.motion_language.second_person import add_second_person
from vlar.pose.attributes.base import attribute_names
from vlar.pose.attributes.hand_base import hand_attribute_names
from vlar.types import Float32


@dataclass(frozen=True)
class Vocabulary:
    """Attributes, and the rules that change a phrase's weights by the words around it.

    Attributes:
        table: File of the table in ``text_banks``.
        names: The A names, in the order of the weights.
        modify: Changes the weights (A,) of a phrase by its clause; gets the phrase's words too.
        complete: Changes the weights (A,) of a whole text; gets the text and its words.
        digest: Hash of these rules.
    """

    table: str
    names: tuple[str, ...]
    modify: Callable[[Float32, str, Collection[str]], Float32]
    complete: Callable[[Float32, str, Sequence[str]], Float32]
    digest: str


def bodies() -> Vocabulary:
    """Of whole bodies (``motion_verbs``)."""
    rules = modifiers.digest()
    return Vocabulary(
        "motion_verbs", attribute_names(), modifiers.apply_modifiers, add_second_person, rules
    )


def hands() -> Vocabulary:
    """Of hands near the camera (``hand_verbs``)."""
    return Vocabulary(
        "hand_verbs",
        hand_attribute_names(),
        modifiers.apply_hand_modifiers,
        lambda weights, text, words: weights,
        modifiers.hand_digest(),
    )
