"""Labels and phrases to concept vectors: templates filled, descriptions joined in."""

from __future__ import annotations

from vlar.concepts.described import described_vectors
from vlar.concepts.lookup import Described, described_share, descriptions_of
from vlar.concepts.vectors import concept_vectors

__all__ = [
    "Described",
    "concept_vectors",
    "described_share",
    "described_vectors",
    "descriptions_of",
]
