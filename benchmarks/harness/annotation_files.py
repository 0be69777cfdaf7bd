"""Read annotation files row by row: JSON arrays, JSON lines, CSV, TSV and Parquet.

Nothing here holds more than one row and a buffer, so a file of 70,000 rows costs what a file of
70 costs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness.errors import AnnotationError

Row = dict[str, Any]

_READ_CHARS = 1 << 16
_LONGEST_ROW = 1 << 24
#: Bytes of one text in a column, the default of Python's csv.
_LONGEST_TEXT = 1 << 17
_PARQUET_ROWS = 64


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of one file; the format follows from its ending.

    Raises:
        AnnotationError: It cannot be read, or a row is not an object.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            yield from _delimited(path)
        elif suffix == ".parquet":
            yield from _parquet(path)
        elif suffix in (".json", ".jsonl"):
            yield from _json_rows(path)
        else:
            raise AnnotationError(
                f"{path} ends in {suffix or 'nothing'}; annotations end in .json, .jsonl, .csv, "
                ".tsv or .parquet."
            )
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror or error}.") from error
    except csv.Error as error:
        raise AnnotationError(f"{path} cannot be read as a table: {error}.") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not UTF-8 text ({error.reason}).") from error


def first_row(path: Path) -> Row:
    """Return the first row, {} if there is none."""
    return next(iter(read_rows(path)), {})


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object that is small enough to be held whole, such as a map of names."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise AnnotationError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


def _delimited(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        tabs = "\t" in header and header.count("\t") >= header.count(",")
        yield from csv.DictReader(file, delimiter="\t" if tabs else ",")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Arrow's own threads can outlive the interpreter and abort it, so none are used.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = [file.schema.column(number) for number in range(len(file.schema))]
        # A text that many rows share is held once, until its length is seen.
        texts = [one.path for one in columns if one.physical_type == "BYTE_ARRAY"]
        with pq.ParquetFile(path, pre_buffer=False, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, use_threads=False):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    longest = _longest_text(column)
                    if longest > _LONGEST_TEXT:
                        raise AnnotationError(
                            f"{path} has a text of {longest} bytes in its column {name!r}, and "
                            f"annotations have at most {_LONGEST_TEXT}; is it the right file?"
                        )
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise AnnotationError(f"{path} is not a Parquet file: {error}.") from error


def _longest_text(column: Any) -> int:
    """Return the bytes of the longest text in an Arrow array, in lists and dictionaries too."""
    import pyarrow as pa
    import pyarrow.compute as pc

    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    if pa.types.is_struct(column.type):
        return max(map(_longest_text, column.flatten()), default=0)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    is_text = pa.types.is_string(column.type) or pa.types.is_binary(column.type)
    is_text |= pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    longest: int | None = pc.max(pc.binary_length(column)).as_py() if is_text else 0
    return longest or 0


def _json_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON array, or of a file with one object a line."""
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig") as file:
        buffer, position, ended = file.read(_READ_CHARS), 0, False
        position = _skip(buffer, position, " \t\r\n[")
        while True:
            position = _skip(buffer, position, " \t\r\n,")
            try:
                row, position = decoder.raw_decode(buffer, position)
            except ValueError as error:
                rest = buffer[position:]
                if rest.lstrip(" \t\r\n]") == "" and ended:
                    return
                more = "" if ended else file.read(_READ_CHARS)
                ended = not more
                if ended and rest.lstrip(" \t\r\n]") == "":
                    return
                if ended or len(rest) > _LONGEST_ROW or rest.lstrip()[:1] not in ("{", "", "]"):
                    raise AnnotationError(
                        f"{path} is not a JSON list of objects, or its end is missing ({error})."
                    ) from error
                buffer, position = rest + more, 0
                continue
            if not isinstance(row, dict):
                raise AnnotationError(
                    f"{path} must hold a list of objects, got {type(row).__name__} in it."
                )
            yield row
            if position > _READ_CHARS:
                buffer, position = buffer[position:], 0


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position
