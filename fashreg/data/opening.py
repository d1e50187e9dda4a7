"""Opening what a table is read from: a file, a DataFrame, or the drawn set."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fashreg.config_data import DataConfig
from fashreg.data.columns import Problems
from fashreg.data.official import Official, mark_from_sidecar, official_of
from fashreg.data.source import TableSource
from fashreg.errors import DataError


def open_source(source: str | Path | pd.DataFrame, config: DataConfig) -> TableSource:
    """Reads the file with every cell as text, so that no number passes through float."""
    if isinstance(source, pd.DataFrame):
        official = official_of(source, "the DataFrame")
        root = _root_of_frame(official, config)
        twice = sorted({str(name) for name in source.columns[source.columns.duplicated()]})
        if twice:
            raise DataError(f"the DataFrame has more than one column called {', '.join(twice)}; rename or drop them")
        return TableSource(_flat(source), "the DataFrame", root, config, Problems("the DataFrame"), official)
    text = str(source)
    if not text:
        raise DataError("no table was given; name one: data.table=my.csv, or draw one: data.table=atelier:products=300")
    path = place_of(text)
    frame = _read_file(path)
    official = official_of(frame, text)
    inside = official.root if official is not None and official.root is not None else "."
    root = Path(config.root).expanduser() if config.root is not None else path.parent / inside
    return TableSource(frame, text, root, config, Problems(text), official)


def place_of(table: str) -> Path:
    """The file that a table's name means; of the drawn set, which is drawn now unless it is there."""
    if table.partition(":")[0] not in ("atelier", "atelier-edits"):
        return Path(table).expanduser()
    from fashreg.data.atelier.embedded import embedded_table

    return embedded_table(table)


def _root_of_frame(official: Official | None, config: DataConfig) -> Path:
    if config.root is not None:
        return Path(config.root)
    said = official.root if official is not None else None
    if said is not None and not Path(said).is_absolute():
        raise DataError(
            f"the DataFrame comes from a file whose pictures start in {said}, seen from that file; "
            'give the file\'s path in place of the DataFrame, or their folder: read_table(frame, {"root": FOLDER})'
        )
    return Path.cwd() if said is None else Path(said)


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows numbered from 0; an index with a name becomes a column."""
    return frame.reset_index(drop=frame.index.name is None)


def _read_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"the table {path} {what}; give a CSV, TSV or Parquet file: data.table=FILE")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _flat(pd.read_parquet(path, dtype_backend="pyarrow"))
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        frame = pd.read_csv(path, sep=separator, dtype=str, na_filter=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise DataError(f"the table {path} is empty; its first line must name the columns") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the table {path} is not UTF-8 text ({error}); save it as UTF-8, or as Parquet") from error
    except Exception as error:  # the readers raise many kinds; each means that the file cannot be read
        raise DataError(f"the table {path} cannot be read: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes surplus cells an index and shifts the others
        raise DataError(
            f"the rows of the table {path} have more cells than its header; quote cells that hold separators"
        )
    return mark_from_sidecar(frame, path)
