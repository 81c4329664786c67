"""The query language: text to a tree (``parse``), a tree to text (``show``); docs/query.md."""

from __future__ import annotations

from vlar.query.grammar.parse import is_expression, parse
from vlar.query.grammar.syntax_errors import QuerySyntaxError
from vlar.query.grammar.tree import (
    And,
    In,
    Like,
    Node,
    Not,
    Or,
    Phrase,
    Product,
    Says,
    Then,
    Weighted,
    leaves,
    show,
)

__all__ = [
    "And",
    "In",
    "Like",
    "Node",
    "Not",
    "Or",
    "Phrase",
    "Product",
    "QuerySyntaxError",
    "Says",
    "Then",
    "Weighted",
    "is_expression",
    "leaves",
    "parse",
    "show",
]
