"""The request of a query: made at the edge (Python, command line, HTTP, MCP) and passed whole.

As ``vlar.model.requests``, it imports nothing heavy, and its annotations are objects.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from vlar.options import SECOND_OPINION, Choices, Option

if TYPE_CHECKING:
    from vlar.library.query.filters import Where
    from vlar.library.query.rerankers import Reranker
    from vlar.types import Hit

# The prior of a match (``vlar.heads.zero_shot.MATCH_PRIOR``): a less probable row fits worse than
# everyday actions at large.
MIN_PROBABILITY = 0.05
RERANKERS = Choices.of_kinds("re-ranker", "reranker", "answerer", also=("auto", "none"))


@dataclass(frozen=True)
class QueryRequest:
    """One query and how it is answered.

    Attributes:
        text: Plain words, or an expression.
        where: Filters that all hold, or a mapping (``vlar.library.query.filters``).
        rerank: How the best candidates are ordered again.
        yes: Hits that show what was meant, or ids of their rows.
        no: Hits that do not show it.
        miss: Chance that the list misses the moment; None: the best ``k``.
        only: The leg that may answer; None for both.
        report: Called with a ``vlar.library.query.plan.QueryReport``; None for none.
    """

    text: str
    k: Annotated[int, Option("Answers to show.", "1..")] = 10
    _: KW_ONLY
    where: Annotated[
        "Where | None",
        Option(
            "A filter: place=gym, path=GLOB, 'start_s>=10', 'added>=DATE', labelled=no.",
            "FILTER",
            type=list[str] | None,
        ),
    ] = None
    min_probability: Annotated[
        float, Option("Hide answers below this probability; 0 shows all.", "P 0.0..1.0")
    ] = MIN_PROBABILITY
    rerank: Annotated[
        "str | Reranker | None",
        Option(
            "How the best candidates are ordered again; 'auto' goes by the model. self:MODEL, "
            "local:FOLDER and openai:MODEL ask for a second opinion.",
            "NAME",
            SECOND_OPINION,
            RERANKERS,
            type=str,
            remote=False,
        ),
    ] = "auto"
    yes: Annotated[
        "Sequence[Hit | int]",
        Option(
            "A hit of the plain list that shows what was meant, by its number there (3), or by "
            "its row (row:57, of --json). The answer learns from it, and leaves judged hits out.",
            "NUMBER",
            type=list[str] | None,
        ),
    ] = ()
    no: Annotated[
        "Sequence[Hit | int]",
        Option("A hit that does not show it.", "NUMBER", type=list[str] | None),
    ] = ()
    miss: Annotated[
        float | None,
        Option(
            "Show all that is needed for the moment to be among it with 90% (10%), or nothing: it "
            "is not in here. Needs a calibration, which 'lite' has (vlar calibrate makes one).",
            "SHARE",
            type=str | None,
        ),
    ] = None
    only: Annotated[
        Literal["seen", "written", "both"] | None,
        Option(
            "Where to look: 'seen' (pictures), 'written' (names of files and folders, tags, "
            "captions; all words of a phrase win), 'both'.",
            "LEG",
        ),
    ] = "seen"
    one_per_recording: Annotated[bool, Option("Show the best answer of each recording only.")] = (
        False
    )
    report: Callable[[Any], None] | None = None
