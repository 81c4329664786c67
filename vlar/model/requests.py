"""Requests to a model: made at the edge (Python, command line, HTTP, MCP) and passed whole.

A field with an ``Option`` is declared here and nowhere else: its type, its default, its help. This
file imports nothing heavy, and its annotations are objects, since every help reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from vlar import registry
from vlar.errors import UsageError
from vlar.options import TIME, Choices, Option

if TYPE_CHECKING:
    from vlar.heads.adapted_head import AdaptedHead
    from vlar.heads.support import Support, SupportItem
    from vlar.language.concept import Concept
    from vlar.language.labels import Labels, LabelSet
    from vlar.language.tree import Tree, TreeSource
    from vlar.media.base import Reader
    from vlar.types import ProgressCallback, Window

NO_BALANCE, ADJUST = "none", "adjust"
BALANCES = (NO_BALANCE, ADJUST)
#: What the literature also calls a rejector.
SYNONYMS = {"edl": "evidential"}
#: Names of objectives, or names with their settings.
Objectives = Sequence[str] | Mapping[str, dict[str, Any]]


def _methods() -> list[str]:
    from vlar.heads.model_selection import AUTO, methods

    return [AUTO, *methods(), *registry.names("adapter")]


METHODS = Choices("method", _methods)
REJECTORS = Choices("rejector", lambda: ("auto", *registry.names("rejector"), *SYNONYMS))


@dataclass(frozen=True)
class AdaptRequest:
    """One adaptation as a user asks for it; a learner gets a ``vlar.model.method.AdaptTask``.

    Attributes:
        source: The support set as the user gives it: a path, or one that is read; None for none.
        recipe: Name of the recipe; None means the default of the method.
        progress: Called as clips are read and go through training steps; None for none.
        free: Folder or CSV of the unlabelled clips; None for none.
        learned: Content hashes of the recordings that the model to adapt has learned from.
        before: Head of the model to adapt; None where it has none.
    """

    source: "str | Path | Support | None" = None
    method: Annotated[
        str,
        Option(
            "How to learn; 'auto' chooses in seconds, without training.", "NAME", choices=METHODS
        ),
    ] = "auto"
    shots: Annotated[int | None, Option("Use at most this many examples a label.", "1..")] = None
    seed: Annotated[
        int,
        Option(
            "Seed of the examples that --shots draws, and of all that a training draws.",
            "rare",
            remote=False,
        ),
    ] = 0
    unknown: Annotated[
        str,
        Option(
            "How recordings that show none of the labels are recognised.",
            "NAME",
            choices=REJECTORS,
            remote=False,
        ),
    ] = "familiarity"
    balance: Annotated[
        str,
        Option(
            "'adjust': labels with more examples are not preferred.",
            "rare NAME",
            choices=Choices("balance", lambda: BALANCES),
            remote=False,
        ),
    ] = NO_BALANCE
    tree: Annotated[
        "Tree | str | Path | None",
        Option(
            "JSON of label to parent, bank:NAME or 'text' (made from the labels). Answers of the "
            "model then name what kind of action it is.",
            "rare FILE",
            type=str | None,
            remote=False,
        ),
    ] = None
    objectives: Annotated[
        Objectives,
        Option(
            "Add an objective to a trained method (auto: temporal); may be given several times.",
            "--objective NAME",
            choices="objective",
            type=list[str] | None,
            remote=False,
        ),
    ] = ()
    settings: Annotated[
        dict[str, Any],
        Option(
            "A setting of a trained method or of its training, such as epochs=40 or people=2; may "
            "be given several times.",
            "--set NAME=VALUE",
            type=list[str] | None,
            remote=False,
        ),
    ] = field(default_factory=dict)
    start: Annotated[
        str | None,
        Option(
            "Start a trained method from a released file of its network, with a new class head.",
            "rare --from FILE",
            remote=False,
        ),
    ] = None
    learner: Annotated[
        str | None,
        Option(
            "How a trained method finds its parameters, if not in its own way.",
            "rare NAME",
            choices="learner",
            remote=False,
        ),
    ] = None
    recipe: str | None = None
    progress: "ProgressCallback | None" = None
    free: str | Path | None = None
    learned: Sequence[str] = ()
    before: "AdaptedHead | None" = None


def find_unlabelled(
    source: str | Path, modality: str | None = None, *, facts: Sequence[str] = ()
) -> "list[SupportItem]":
    """The recordings of a folder (at any depth) or of a CSV file, as examples without labels.

    Args:
        source: The folder, whose recordings are taken whole, or a CSV ``path[,domain]``.
        modality: Name of the sensor; None for any.
        facts: Columns of a CSV that are read next to those that every CSV may have.

    Raises:
        UsageError: the source does not exist, holds no recording, or is a CSV that cannot be read.
    """
    from vlar.heads.support import SupportItem, names_paths, read_unlabelled
    from vlar.media.lookup import find

    folder = Path(source).expanduser()
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder of unlabelled clips; correct the path")
    if names_paths(folder):
        items = read_unlabelled(folder, facts)
    else:
        items = [SupportItem(path, None, (), str(path)) for path in find([folder], modality)]
    if not items:
        raise UsageError(f"{folder}: no recording in this folder of unlabelled clips; add some")
    return items


DEFAULT_FPS = 25.0


def interval(at: "tuple[float, float] | Window | None", every_s: float | None) -> "Window | None":
    """The interval of a request; None for whole recordings.

    Raises:
        UsageError: it is not a span of time, or answers for every span are asked for too.
    """
    if at is None:
        return None
    if every_s is not None:
        raise UsageError(
            "an interval has one answer, and every span of a length has its own; give one"
        )
    from vlar.types import Window

    start_s, end_s = (at.start_s, at.end_s) if isinstance(at, Window) else at
    if not 0 <= start_s < end_s < float("inf"):
        raise UsageError(
            f"the interval {start_s:g} to {end_s:g} s is not a span; write for example 2s-4s"
        )
    return Window(float(start_s), float(end_s))


@dataclass(frozen=True)
class ClassifyRequest:
    """A request to say which label fits; ``Model.classify`` describes the fields.

    ``labels`` is read with ``mode``, ``descriptions``, ``tree`` and ``concepts`` when the request
    is made, and is a ``LabelSet`` from then on; ``at`` is a ``Window``.

    Attributes:
        source: Reads the recordings; None for the reader of the model's sensor.
    """

    labels: "Labels | LabelSet | None" = None
    _: KW_ONLY
    top: Annotated[int, Option("Labels to show.", "1..")] = 5
    every_s: Annotated[
        float | None,
        Option("One answer for each such span: 4s.", "--every SPAN", TIME, type=str | None),
    ] = None
    mode: Annotated[
        Literal["one", "multi"],
        Option("'one': a single label fits. 'multi': any number of labels fit.", "MODE"),
    ] = "one"
    descriptions: Annotated[
        str | Sequence[str],
        Option(
            "Use descriptions of labels: auto, none, or kinds such as scene,motion.",
            "rare KINDS",
            type=str,
        ),
    ] = "auto"
    tree: Annotated[
        "TreeSource | None",
        Option(
            "JSON of label to parent, bank:NAME or text (made from the labels). Answers then name "
            "what kind of action it is.",
            "rare FILE",
            type=str | None,
            remote=False,
        ),
    ] = None
    fps: float = DEFAULT_FPS
    shots: Annotated[
        bool, Option("Judge a film with cuts shot by shot (once before: vlar models get shots).")
    ] = False
    who: Annotated[
        str | None,
        Option("Judge one person: 'the person on the left', 'the man in red', 'person 2'.", "TEXT"),
    ] = None
    zoom: Annotated[
        Literal["off", "auto", "person"] | None,
        Option(
            "Zoom in on the person who moves: 'person' always, 'auto' where small in the picture.",
            "WHEN",
        ),
    ] = "off"
    detector: Annotated[
        str | None,
        Option(
            "What finds people and things for --who and --zoom: pose, motion, hf:FOLDER, "
            "rfdetr:FILE.",
            "rare NAME",
            remote=False,
        ),
    ] = None
    at: Annotated[
        "tuple[float, float] | Window | None",
        Option(
            "The interval to judge, such as 2s-4s; without it all of a recording.",
            "SPAN",
            TIME,
            type=str | None,
            remote=False,
        ),
    ] = None
    concepts: "Mapping[str, Concept] | None" = None
    source: "Reader | None" = None

    def __post_init__(self) -> None:
        """Read the labels and the interval."""
        from vlar.language.labels import LabelSet

        if not isinstance(self.labels, LabelSet):
            words = self.descriptions, self.tree, self.concepts
            object.__setattr__(self, "labels", LabelSet.read(self.labels, self.mode, *words))
        object.__setattr__(self, "at", interval(self.at, self.every_s))

    @property
    def label_set(self) -> "LabelSet":
        """The labels as they were read."""
        return cast("LabelSet", self.labels)

    @property
    def person(self) -> bool:
        """Return whether one person is judged, or who moves, rather than the whole picture."""
        return not (self.who is None and self.detector is None and self.zoom in (None, "off"))

    @property
    def window(self) -> "Window | None":
        """The interval to judge; None for all of a recording."""
        return cast("Window | None", self.at)


@dataclass(frozen=True)
class EvaluateRequest:
    """A request to score a model on labelled recordings, as ``Model.evaluate`` describes."""

    labelled: "str | Path | Support"
    labels: "LabelSet"
    progress: "ProgressCallback | None" = None
    by: Sequence[str] = ()
