"""Official layouts of public benchmarks, each turned into a table: `read_layout("sop", folder)`, `convert`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pandas as pd

from fashreg.data.layouts import asen, deepfashion2, fashion_gen, fashion_iq, in_shop, lookbench, sop
from fashreg.data.layouts.folder import Folder, Layout
from fashreg.data.official import Official, ending_of, mark, sidecar_of, write_table
from fashreg.errors import DataError

__all__ = ["LAYOUTS", "Layout", "convert", "layout_of", "options_for", "read_layout"]

_PLAIN = ("image", "label", "split", "is_query", "is_gallery")
_MODULES = (in_shop, sop, deepfashion2, asen, fashion_iq, fashion_gen, lookbench)
LAYOUTS: dict[str, Layout] = {layout.name: layout for module in _MODULES for layout in module.LAYOUTS}


def layout_of(name: str) -> Layout:
    """The layout of that name; a DataError names the nearest."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    near = difflib.get_close_matches(name, LAYOUTS, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(LAYOUTS)}."
    raise DataError(f'no layout "{name}"; {hint} `fashreg data layouts` describes them')


def read_layout(name: str, folder: str | Path, *, pictures: str | Path | None = None) -> pd.DataFrame:
    """The table of an official folder, ready for `read_table`; it names its protocol and its folder of pictures.

    folder: as its authors distribute it, unpacked. pictures: where to unpack pictures, for layouts that hold them
    inside other files (LookBench). A folder that is another's, or not whole, is refused with what is missing.
    """
    layout, root = layout_of(name), Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; {name} needs one that holds {', '.join(layout.needs)}")
    unpacked = None if pictures is None else Path(pictures).expanduser().absolute()
    converted = layout.read(Folder(name, root.absolute(), layout.needs, unpacked))
    if not len(converted.frame):
        raise DataError(f"{root} holds no pictures of {name}")
    _refuse_missing(name, root, converted.frame, converted.root)
    frame = converted.frame.reset_index(drop=True)
    return mark(frame, Official(name, str(converted.root), layout.repeats, layout.cross_modal))


def convert(name: str, folder: str | Path, out: str | Path) -> pd.DataFrame:
    """`read_layout`, written to a file: .parquet, .csv or .tsv. Unpacked pictures go to a folder beside the file."""
    path = Path(out).expanduser().absolute()
    ending_of(path)
    for there in (path, sidecar_of(path)):
        if there.exists():
            raise DataError(f"{there} exists already; remove it, or choose another --out")
    frame = read_layout(name, folder, pictures=path.with_name(f"{path.stem}-pictures"))
    write_table(frame, path)
    return frame


def options_for(layout: Layout, frame: pd.DataFrame) -> str:
    """Options of `fashreg evaluate` that go with this table."""
    attributes = [name for name in frame.columns if name not in _PLAIN]
    return layout.evaluate.replace("[ATTRIBUTE, ...]", f"[{', '.join(attributes)}]")


def _refuse_missing(name: str, root: Path, frame: pd.DataFrame, pictures: Path) -> None:
    """One error for all pictures that are told of and not there."""
    columns = [column for column in ("image", "target") if column in frame.columns]
    told = dict.fromkeys(place for column in columns for place in frame[column] if place)
    outside = next((place for place in told if os.path.isabs(place) or ".." in place.split("/")), None)
    if outside is not None:
        raise DataError(f"{root} tells of the picture {outside}, which lies outside of it; that is not {name}")
    missing = [place for place in told if not os.path.isfile(os.path.join(pictures, place))]
    if missing:
        raise DataError(
            f"{root} is not a whole {name} folder: {len(missing):,} of {len(told):,} pictures are missing, the first: "
            f"{Path(pictures, missing[0])}"
        )
