"""``parts``: the parts of a body next to what a text says of each, behind the encoder contract."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.adapters.frame_inputs import directions
from vlar.adapters.mapped import Integers, MappedAdapter
from vlar.adapters.mapped_config import Solved
from vlar.adapters.parts.config import PartsConfig
from vlar.adapters.parts.joints import part_vectors, part_widths
from vlar.encoders.sentences import text_tower
from vlar.motion_language.clauses import PARTS, part_clauses
from vlar.motion_language.verb_table import VerbTable
from vlar.numeric import unit
from vlar.registry import register
from vlar.text.bank import load_bank
from vlar.text.clean import clean_label
from vlar.text.inflection import base_forms
from vlar.types import Float32, Float64, Role

if TYPE_CHECKING:
    from torch import nn

    from vlar.adapters.parts.network import PartsNetwork

Array = npt.NDArray[np.floating[Any]]
_SAME = 0.98  # cosine from which two texts of a part are one
_N = 1 + len(PARTS)


@register("adapter", "parts")
class Parts(MappedAdapter):
    """Head, hands, hips and feet are drawn to the clauses that describe them.

    GAP, Xiang et al., "Generative action description prompts for skeleton-based action
    recognition", ICCV 2023, with texts that are not trained. A clip's vector holds the whole body
    and each part; a text's vector the label and its clauses. Their cosine is ``whole`` times that
    of the whole body and the rest of the parts', evenly, so labels without examples are answered.

    Attributes:
        network: A linear head for the whole body and for each part.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text", "bodies")
    contract_base: ClassVar[str | None] = None
    config_type = PartsConfig
    method = "parts"
    config: PartsConfig
    network: PartsNetwork

    def _width(self) -> int:
        self.one_width, self.text_width = self.text_width, _N * self.text_width
        return self.text_width

    def _build(self) -> None:
        import torch

        from vlar.adapters.parts.network import PartsNetwork

        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.network = PartsNetwork(config.components, self.one_width, _N)
        self.widths = part_widths(self.encoder.frame_blocks)
        self.clip_width = sum(self.widths)
        sizes = {"clip_centre": (self.clip_width,), "text_centre": (_N, self.one_width)}
        sizes |= {f"axes_{p}": (width, config.components) for p, width in enumerate(self.widths)}
        for name, size in sizes.items():
            self.network.register_buffer(name, torch.zeros(size))
        self.network.eval().requires_grad_(False)

    @property
    def module(self) -> nn.Module:
        """The heads, the directions that clips are read along, and the means."""
        return self.network

    def clip_vectors(self, features: Float32) -> Float32:
        """See ``MappedAdapter``: the whole body, then its parts."""
        return part_vectors(features, self.encoder.frame_blocks)

    def _fit(self, x: Float64, z: Float64, columns: Integers) -> Solved:
        import torch

        from vlar.adapters.parts.network import train

        for p, part in enumerate(self._split(x)):
            mean, axes = directions(part, self.config.components)
            start = sum(self.widths[:p])
            self._set("clip_centre", mean, slice(start, start + self.widths[p]))
            self._set(f"axes_{p}", axes)
        texts = z.reshape(len(z), _N, -1)
        self._set("text_centre", texts.mean(axis=0))
        away = unit(texts - texts.mean(axis=0)).transpose(1, 0, 2)
        same = np.stack([_numbers(part) for part in texts.transpose(1, 0, 2)])
        clips = torch.from_numpy(self._read(x.astype(np.float32)))
        self.network.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            losses = train(
                self.network, clips, torch.from_numpy(away.copy()), torch.from_numpy(same),
                torch.from_numpy(columns), self.config,
            )  # fmt: skip
        self.network.requires_grad_(False)
        return Solved(tuple(losses))

    def _set(self, name: str, array: Float64, where: slice = slice(None)) -> None:
        import torch

        self.network.get_buffer(name)[where].copy_(torch.from_numpy(array))

    def _split(self, x: Array) -> list[Array]:
        return np.split(x, np.cumsum(self.widths)[:-1], axis=1)

    def _read(self, x: Float32) -> Float32:
        """Clips (n, d) along the directions of each part: (n, P, S)."""
        away = x - self.network.get_buffer("clip_centre").numpy()
        parts = [
            part @ self.network.get_buffer(f"axes_{p}").numpy()
            for p, part in enumerate(self._split(away))
        ]
        return np.stack(parts, axis=1).astype(np.float32)

    def _clips(self, x: Float32) -> Float32:
        import torch

        with torch.inference_mode():
            found = self.network(torch.from_numpy(self._read(x))).numpy()
        return self._weighed(found.transpose(1, 0, 2))

    def _words(self, z: Float32) -> Float32:
        texts = z.reshape(len(z), _N, -1) - self.network.get_buffer("text_centre").numpy()
        return self._weighed(unit(texts))

    def _weighed(self, parts: Float32) -> Float32:
        """(n, P, K) unit vectors to (n, P K), so that cosines add up by their shares."""
        whole = self.config.whole
        shares = np.array([whole, *[(1 - whole) / len(PARTS)] * len(PARTS)])
        found = parts * np.sqrt(shares)[:, None].astype(np.float32)
        return found.reshape(len(parts), -1).astype(np.float32)

    # Texts

    def text_vectors(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """(C, P K): a text, and the text with the clause of each part."""
        rows = self.part_texts(texts)
        flat = super().text_vectors([text for row in rows for text in row], role)
        return unit(flat.reshape(len(texts), -1))

    def part_texts(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text, and the text with the clause of each of ``PARTS``."""
        return [
            [text, *(f"{text}, {clauses[p]}" if p in clauses else text for p in PARTS)]
            for text, clauses in zip(texts, map(self.clauses, texts), strict=True)
        ]

    def clauses(self, text: str) -> dict[str, str]:
        """What the bank, or else the verb table, says of each part; empty where neither knows."""
        return self._of_bank.get(_key(text)) or part_clauses(self._verbs.lookup(text))

    @cached_property
    def _of_bank(self) -> dict[frozenset[str], dict[str, str]]:
        if not self.config.bank:
            return {}
        found: dict[frozenset[str], dict[str, str]] = {}
        for entry in load_bank(self.config.bank).entries:
            told = {row.kind.removeprefix("part:"): row.text for row in entry.descriptions[::-1]
                    if row.kind.startswith("part:")}  # fmt: skip
            if told:
                found |= {_key(name): told for name in (entry.text, clean_label(entry.label))}
        return found

    @cached_property
    def _verbs(self) -> VerbTable:
        return VerbTable.packaged(text_tower())


def _key(text: str) -> frozenset[str]:
    """The words of a text in their base forms."""
    words = clean_label(text).casefold().split()
    return frozenset(min(base_forms(word), key=lambda form: (len(form), form)) for word in words)


def _numbers(texts: Float64) -> Integers:
    """(C,) one number for all texts (C, K) that mean the same."""
    near = unit(texts) @ unit(texts).T > _SAME
    return near.argmax(axis=1).astype(np.int64)
