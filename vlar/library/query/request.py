"""The request of a query: made at the edge (Python, command line, HTTP, MCP) and passed whole.

As ``vlar.model.requests``, it imports nothing heavy, and its annotations are objects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from vlar.options import Option

if TYPE_CHECKING:
    from vlar.library.query.rerankers import Reranker
    from vlar.types import Hit

# The prior of a match (``vlar.heads.zero_shot.MATCH_PRIOR``): a less probable row fits worse than
# everyday actions at large.
MIN_PROBABILITY = 0.05


@dataclass(frozen=True)
class QueryRequest:
    """One query and how it is answered; ``Library.query`` and ``refine`` have them.

    Attributes:
        text: Plain words, or an expression.
        rerank: How the best candidates are ordered again.
        yes: Hits that show what was meant, or ids of their rows.
        no: Hits that do not show it.
        miss: Chance that the list misses the moment, above 0 and below 1; None: the best ``k``.
        only: ``written`` or ``seen``: the leg that may answer; None for both.
        one_per_recording: Whether a recording has at most one answer.
        report: Called with a ``vlar.library.query.plan.QueryReport``; None for none.
    """

    text: str
    k: Annotated[int, Option("Answers to show.", "1..")] = 10
    where: Annotated[
        Mapping[str, object] | Sequence[str] | None,
        Option(
            "A filter: place=gym, path=GLOB, 'start_s>=10', 'added>=DATE', labelled=no.",
            "FILTER",
            type=list[str] | None,
        ),
    ] = None
    min_probability: Annotated[
        float, Option("Hide answers below this probability; 0 shows all.", "P 0.0..1.0")
    ] = MIN_PROBABILITY
    rerank: "str | Reranker | None" = "auto"
    report: Callable[[Any], None] | None = None
    yes: "Sequence[Hit | int]" = ()
    no: "Sequence[Hit | int]" = ()
    miss: float | None = None
    only: str | None = "seen"
    one_per_recording: Annotated[
        bool, Option("Show the best answer of each recording only.", remote=True)
    ] = False
