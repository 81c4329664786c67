"""Results as tables: lists with ``to_arrow`` and ``to_pandas``, CSV and Parquet files.

Arrow and Parquet need pyarrow (``pip install 'vlar[tables]'``); docs/answers.md has the columns.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from vlar import notebook
from vlar.errors import UsageError, explained
from vlar.types import Classification, Failure, Hit, JsonDict
from vlar.version import is_installed, pip_install

if TYPE_CHECKING:
    import pandas as pd

Row = Hit | Classification | Failure
T = TypeVar("T", bound=Row)

HIT_COLUMNS = (
    *("rank", "path", "start_s", "end_s", "score", "probability", "similarity", "lost"),
    *("tags", "parts", "also", "caption", "track", "box", "box_s", "row", "standing", "calibrated"),
)
ANSWER_COLUMNS = (
    *("path", "start_s", "end_s", "model", "calibrated", "label", "probability", "similarity"),
    *("unknown", "unknown_probability", "lost", "predictions", "coarse", "error_kind", "error"),
)
_ROWS_A_GROUP = 4096
# A spreadsheet computes cells that begin with these; the texts of other people are only shown.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Results(list[T]):
    """A list of results that is a table too: ``vlar.Results(model.classify(paths, labels))``."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return HIT_COLUMNS if self and isinstance(self[0], Hit) else ANSWER_COLUMNS

    def __str__(self) -> str:
        """The lines of the command line."""
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        """Cards with pictures of the first, and lines of the others, for notebooks."""
        return notebook.cards(self)

    def to_dicts(self) -> list[JsonDict]:
        """One dict a row, as ``--json`` prints them."""
        return [row.to_dict() for row in self]

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table``, one row a result."""
        return arrow().Table.from_pylist(
            [record(row) for row in self], schema=arrow_schema(self.columns)
        )

    def to_pandas(self) -> pd.DataFrame:
        """A data frame of pandas, one row a result; tags are dicts."""
        return self.to_arrow().to_pandas(maps_as_pydicts="strict")

    def to_dataset(self) -> Any:
        """A ``datasets.Dataset``, one row a result; lists and dicts in cells are JSON.

        Raises:
            UsageError: the library ``datasets`` is not installed.
        """
        if not is_installed("datasets"):
            raise UsageError(f"a data set needs datasets; {pip_install('datasets')}")
        import datasets  # pyright: ignore[reportMissingImports]

        rows = [{name: _flat(value) for name, value in record(row).items()} for row in self]
        return datasets.Dataset.from_list([dict.fromkeys(self.columns) | row for row in rows])


@dataclass(frozen=True)
class Guarantee:
    """Promise of a list that was asked for with a chance of a miss.

    Attributes:
        alpha: Chance of a miss, above 0 and below 1.
        calibration: Labelled queries that the promise stands on.
        size: Number of these queries.
        recordings: Recordings of the libraries that they were asked of.
        least: Least score of a moment of the list, in log odds; -inf where every moment belongs to
            it, since ``size`` is too small for ``alpha``.
    """

    alpha: float
    calibration: str
    size: int
    recordings: int
    least: float

    def sentence(self, hits: int) -> str:
        """The promise for people.

        >>> Guarantee(0.1, "c", 9, 45, 0.0).sentence(0)
        'not in here, with 90% (for queries like the 9 of c, asked of about 45 recordings)'
        """
        what = f"in this list of {hits}" if hits else "not in here"
        like = f"for queries like the {self.size} of {self.calibration}"
        sure = f"{1 - self.alpha:.0%}"
        return f"{what}, with {sure} ({like}, asked of about {self.recordings} recordings)"

    def to_dict(self) -> dict[str, Any]:
        """JSON object."""
        return {
            "alpha": self.alpha,
            "calibration": self.calibration,
            "size": self.size,
            "recordings": self.recordings,
        }


class Hits(Results[Hit]):
    """Answers of a library to one query, best first.

    Args:
        hits: The answers.
        decides: How much each block of the vectors (objects, motion, ...) decides the order, 0 to
            1, where judgements were given; else empty.
        guarantee: Promise of a list that was asked for with a chance of a miss; else None.

    Attributes:
        learned_from: A sentence for each example that a link to another sensor reads.
    """

    learned_from: tuple[str, ...] = ()

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        *,
        decides: Mapping[str, float] | None = None,
        guarantee: Guarantee | None = None,
    ) -> None:
        super().__init__(hits)
        self.decides = dict(decides or {})
        self.guarantee = guarantee

    @property
    def weak(self) -> bool:
        """True where all answers are likely wrong, and none has words that are written of it."""
        return bool(self) and all(hit.weak and not hit.written for hit in self)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, also of an empty answer."""
        return HIT_COLUMNS


class TableFile:
    """A table that is written row by row: ``.csv`` or ``.parquet``.

    What was written before an interruption is kept and readable.

    Args:
        path: The file; an older one is replaced.
        columns: Names of the columns.

    Raises:
        UsageError: another ending, or the file cannot be written.
    """

    def __init__(self, path: str | Path, columns: Sequence[str] = ANSWER_COLUMNS) -> None:
        self.path, self._columns = Path(path), tuple(columns)
        self._waiting: list[JsonDict] = []
        self._open()

    def _written(self) -> AbstractContextManager[None]:
        return explained(UsageError, f"{self.path}: cannot be written", "choose another file")

    def _open(self) -> None:
        ending = self.path.suffix.lower()
        with self._written():
            if ending == ".csv":
                self._text = self.path.open("w", newline="", encoding="utf-8", errors="replace")
                self._csv = csv.DictWriter(self._text, self._columns, extrasaction="ignore")
                self._csv.writeheader()
            elif ending == ".parquet":
                schema = arrow_schema(self._columns)
                import pyarrow.parquet as parquet

                self._text = None
                self._parquet = parquet.ParquetWriter(self.path, schema, compression="zstd")
            else:
                raise UsageError(f"{self.path}: a table ends in .csv or .parquet; rename it")

    def __enter__(self) -> Self:
        """The file itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits and close."""
        self.close()

    def write(self, row: Row) -> None:
        """Add one row.

        Raises:
            UsageError: the file cannot be written.
        """
        with self._written():
            if self._text is not None:
                self._csv.writerow({name: cell(value) for name, value in record(row).items()})
                return
            self._waiting.append(record(row))
            if len(self._waiting) >= _ROWS_A_GROUP:
                self._flush()

    def close(self) -> None:
        """Write what waits, and close."""
        with self._written():
            if self._text is not None:
                self._text.close()
                return
            if self._waiting:
                self._flush()
            self._parquet.close()

    def _flush(self) -> None:
        schema = arrow_schema(self._columns)
        self._parquet.write_table(arrow().Table.from_pylist(self._waiting, schema=schema))
        self._waiting = []


def write_table(path: str | Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write rows as ``.csv`` or ``.parquet``; see ``TableFile``."""
    with TableFile(path, columns) as file:
        for row in rows:
            file.write(row)


def record(row: Row) -> JsonDict:
    """A row as one value a column."""
    if isinstance(row, Hit):
        return row.to_dict()
    if isinstance(row, Failure):
        return {"path": str(row.path), "error_kind": row.kind, "error": row.message}
    facts = row.to_dict()
    best = row.predictions[0]
    facts |= {"label": best.label, "probability": round(best.probability, 6)}
    return facts | {"similarity": round(best.similarity, 6)}


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def cell(value: Any) -> Any:
    """A value as a cell of CSV: lists and dicts as JSON, text without the start of a formula.

    >>> cell("=1+1"), cell({"a": "b"}), cell(0.5)
    ("'=1+1", '{"a": "b"}', 0.5)
    """
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def arrow() -> Any:
    """The module pyarrow.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow as module
    except ImportError:
        raise UsageError(
            "tables of Arrow, Parquet and pandas need pyarrow; "
            f"{pip_install('tables')}, or write .csv"
        ) from None
    return module


def arrow_schema(
    columns: Sequence[str], *, dim: int = 0, facts: Mapping[str, str] | None = None
) -> Any:
    """The ``pyarrow.Schema`` of some columns of answers or of rows of a library.

    Args:
        columns: Names; one that is not known here is a number.
        dim: D, width of ``vector``.
        facts: Metadata of the table.
    """
    pa = arrow()
    number, text = pa.float64(), pa.string()
    span = [("start_s", number), ("end_s", number)]
    fit = [("probability", number), ("similarity", number)]
    labels = pa.list_(pa.struct([("label", text), ("key", text), *fit]))
    types = {
        **dict.fromkeys(("path", "model", "label", "error_kind", "error", "caption"), text),
        **dict.fromkeys(("standing", "kind", "content_hash"), text),
        **dict.fromkeys(("rank", "track", "row", "row_id", "size", "mtime_ns"), pa.int64()),
        "vector": pa.list_(pa.float32(), dim),
        "context": pa.binary(),
        "context_tokens": pa.int32(),
        "box": pa.list_(number),
        **dict.fromkeys(("unknown", "calibrated"), pa.bool_()),
        "tags": pa.map_(text, text),
        "parts": pa.list_(pa.struct([("phrase", text), *span, *fit])),
        "also": pa.list_(pa.struct([("path", text), *span])),
        "predictions": labels,
        "coarse": labels,
    }
    return pa.schema([(name, types.get(name, number)) for name in columns], metadata=facts)
