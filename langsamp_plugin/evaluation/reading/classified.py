"""Reads classified sentences: a TSV or CSV of id, label and text."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.reading.labelled import Labelled
from langsamp_plugin.evaluation.reading.lines import csv_rows, quoted_rows

LABEL_COLUMNS = ("label", "category", "class", "topic", "genre")
TEXT_COLUMNS = ("text", "verse", "sentence")
ID_COLUMNS = ("index_id", "id", "index", "verse_id", "")


def read_classified(path: PathLike) -> Labelled:
    """Read labelled sentences; a header names the columns, without one they are id, label, text.

    Quoting follows CSV: ``"He said ""no""."`` is ``He said "no".``

    Raises:
        ValueError: a line has too few columns, or a header does not say where label and text are; the message names
            file and line.
    """
    rows = csv_rows(path) if Path(path).suffix == ".csv" else quoted_rows(path)
    if not rows:
        return Labelled([], [])
    columns = header_columns(rows[0][1], path)
    label_column, text_column = columns or (1, 2)
    texts, labels = [], []
    for number, fields in rows[1 if columns else 0 :]:
        if len(fields) <= max(label_column, text_column):
            raise ValueError(
                f"{path}, line {number}: must be id<tab>label<tab>text, but is {chr(9).join(fields)[:60]!r}"
            )
        if len(fields) > (len(rows[0][1]) if columns else 3):
            raise ValueError(
                f"{path}, line {number}: must have no more columns than "
                + ("the header" if columns else "id, label and text")
                + f", but has {len(fields)}"
                + ("" if columns else ": add a header")
            )
        label, text = fields[label_column].strip(), fields[text_column].strip()
        if not label or not text:
            raise ValueError(f"{path}, line {number}: must have a label and a text, but is {fields!r:.80}")
        labels.append(label)
        texts.append(text)
    return Labelled(texts, labels)


def header_columns(fields: list[str], path: PathLike) -> Optional[tuple[int, int]]:
    """Return the columns of label and text, or ``None`` if the line is not a header.

    A header is a line with the name of a label column or of a text column and no field that is longer than a name.

    Raises:
        ValueError: the header names only one of them.
    """
    names = [field.strip().lower() for field in fields]
    label = [place for name in LABEL_COLUMNS for place, other in enumerate(names) if other == name]
    text = [place for name in TEXT_COLUMNS for place, other in enumerate(names) if other == name]
    looks_like_names = all(len(name.split()) < 2 for name in names)
    known_first = names[0] in ID_COLUMNS and len(names) > 1 and bool(label or text)
    unknown_header = len(names) > 1 and names[0] in ID_COLUMNS and bool(names[0])
    if not looks_like_names or not (unknown_header or known_first or (label and text)):
        return None
    if not label or not text:
        missing = " or ".join(TEXT_COLUMNS if label else LABEL_COLUMNS[:2])
        raise ValueError(f"{path} has no column {missing}, only {chr(9).join(fields)[:60]!r}")
    return label[0], text[0]
