"""Tables for four tasks: of Atelier as it is drawn, and of fashion-products with edits written from what differs.

Atelier: 10 categories (its finest classes, in 4 sub-categories); a caption that names every attribute; edits that ask
for a product of the same family. The CLIP that all arms start from learns from another drawn set, which shares no
design.

fashion-products: titles are the texts and sub_category is the class (classes with fewer than LEAST training pictures
are left out). Pictures are divided anew, 70 / 10 / 20 %, at random: every class is known. A picture's look is its
article_type, base_colour, gender, season and usage; an edit asks, of a picture, for one of another look that has the
same article_type and differs in one or two of the others; every picture of the look that is asked for is right. One
edit for each picture that has a partner in its split. In both sets an edit is asked among all pictures of its split,
and every one of the label that is asked for is right. Titles hold words of the class and often of the colour, so
texts alone tell much: both sets are easier than the data of the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from products import table_of

from fashreg.data.atelier import draw_atelier

LEAST = 20
SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}
VARIED = ("base_colour", "gender", "season", "usage")


def atelier(folder: Path, products: int, views: int = 3, size: int = 64) -> tuple[Path, Path]:
    """The table of pictures, and that of edits."""
    table = draw_atelier(folder, products=products, views=views, size=size, seed=0)
    edits = pd.read_csv(table.with_name("edits.csv"), keep_default_na=False)
    asked = edits.rename(columns={"source": "of", "target": "look", "source_image": "image", "target_image": "target"})
    searched = pd.read_csv(table, keep_default_na=False).rename(columns={"label": "look"})
    return table, _with_gallery(asked, searched, table.with_name("asked.csv"))


def other_atelier(folder: Path, products: int, views: int = 3, size: int = 64) -> Path:
    """Another drawn set: three quarters for training, the rest tells what the start knows."""
    table = draw_atelier(folder, products=products, views=views, size=size, seed=1)
    frame = pd.read_csv(table, keep_default_na=False)
    frame.assign(split=frame["split"].replace("validation", "train")).to_csv(table, index=False)
    return table


def fashion_products(data: Path, folder: Path) -> tuple[Path, Path]:
    """The table of pictures, and that of edits; pictures stay where they are."""
    source = table_of(data)
    frame = pd.read_csv(source, keep_default_na=False)
    random = np.random.default_rng(0)
    edges = np.cumsum(list(SPLITS.values()))[:-1]
    frame["split"] = np.array(list(SPLITS))[np.searchsorted(edges, random.random(len(frame)), side="right")]
    counts = frame[frame["split"] == "train"]["sub_category"].value_counts()
    frame = frame[frame["sub_category"].map(counts).fillna(0) >= LEAST].reset_index(drop=True)
    frame["image"] = [str((source.parent / image).resolve()) for image in frame["image"]]
    frame["look"] = frame[["article_type", *VARIED]].agg("/".join, axis=1)
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["image", "id", "split", "look", "sub_category", "title"]
    frame[columns].to_csv(folder / "table.csv", index=False)
    edits = pd.concat([edits_of(part, random) for _, part in frame.groupby("split", sort=True)])
    return folder / "table.csv", _with_gallery(edits, frame, folder / "asked.csv")


def edits_of(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """One edit for each picture of a split that has a partner."""
    rows = []
    for _, kind in frame.groupby("article_type", sort=True):
        values = kind[list(VARIED)].to_numpy()
        for place, row in enumerate(kind.itertuples()):
            differing = (values != values[place]).sum(axis=1)
            partners = np.flatnonzero((differing == 1) | (differing == 2))
            if len(partners):
                other = kind.iloc[int(random.choice(partners))]
                rows.append((row.image, other["image"], other["look"], _words(row, other), row.split))
    return pd.DataFrame(rows, columns=["image", "target", "look", "text", "split"])


def _with_gallery(edits: pd.DataFrame, pictures: pd.DataFrame, file: Path) -> Path:
    """Edits ask, and below them stand all pictures of their splits, which are searched."""
    searched = pictures[["image", "look", "split"]].assign(text="", target="", is_query=False, is_gallery=True)
    asked = edits[["image", "look", "split", "text", "target"]].assign(is_query=True, is_gallery=False)
    pd.concat([asked, searched]).to_csv(file, index=False)
    return file


def _words(source: object, target: pd.Series[str]) -> str:
    """What the target has otherwise: `is navy blue and is for women`."""
    said = {"base_colour": "is {}", "gender": "is for {}", "season": "is for {}", "usage": "is {} wear"}
    changed = [name for name in VARIED if getattr(source, name) != target[name]]
    return " and ".join(said[name].format((target[name] or "any").lower()) for name in changed)
