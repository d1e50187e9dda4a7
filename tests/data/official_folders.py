"""Small folders in the official layouts, a function each: it writes into an empty folder and gives its path back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def jpeg(colour: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", (12, 12), colour).save(kept, format="JPEG")
    return kept.getvalue()


def put(path: Path, content: Any = None) -> None:
    """A picture, a JSON document, or lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.write_bytes(jpeg())
    elif path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        path.write_text("\n".join(content) + "\n", encoding="utf-8")


def in_shop(root: Path) -> Path:
    rows = [
        ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train"),
        ("img/WOMEN/Dresses/id_00000002/02_2_side.jpg", "id_00000002", "train"),
        ("img/MEN/Denim/id_00000080/01_1_front.jpg", "id_00000080", "query"),
        ("img/MEN/Denim/id_00000080/01_2_side.jpg", "id_00000080", "gallery"),
        ("img/MEN/Denim/id_00000081/01_1_front.jpg", "id_00000081", "gallery"),
    ]
    told = [f"{image:<60}{item}  {status}" for image, item, status in rows]
    put(root / "Eval/list_eval_partition.txt", ["5", "image_name item_id evaluation_status", *told])
    for image, _, _ in rows:
        put(root / image)
    return root


def sop(root: Path) -> Path:
    header = "image_id class_id super_class_id path"
    put(root / "Ebay_train.txt", [header, *(f"{i} {1 + i // 3} 1 bicycle_final/1110{i}_0.JPG" for i in (1, 2))])
    put(root / "Ebay_test.txt", [header, *(f"{i} {11319 + i // 5} 2 cabinet_final/2220{i}_0.JPG" for i in (3, 4, 5))])
    for place in ("bicycle_final/11101", "bicycle_final/11102", *(f"cabinet_final/2220{i}" for i in (3, 4, 5))):
        put(root / f"{place}_0.JPG")
    return root


def deepfashion2(root: Path) -> Path:
    def item(style: int, box: list[int], name: str = "skirt") -> dict[str, Any]:
        return {"style": style, "bounding_box": box, "category_name": name, "category_id": 9}

    annos = {
        "train/annos/000001": ("user", 1, [item(1, [0, 0, 5, 5]), item(0, [6, 0, 9, 9])]),
        "train/annos/000002": ("shop", 1, [item(1, [1, 2, 10, 11])]),
        "validation/annos/000001": ("user", 7, [item(1, [0, 0, 5, 5]), item(0, [2, 2, 9, 9])]),
        "validation/annos/000002": ("shop", 7, [item(1, [9, 8, 3, 2]), item(2, [4, 4, 4, 9]), item(0, [0, 0, 3, 3])]),
    }
    for place, (source, pair, items) in annos.items():
        told = {f"item{number}": thing for number, thing in enumerate(items, start=1)}
        put(root / f"{place}.json", {"source": source, "pair_id": pair, **told})
        put(root / f"{place.replace('annos', 'image')}.jpg")
    return root


def asen(root: Path) -> Path:
    """Two attributes, of which picture 1 has two colours; meta.json above the folder, as the authors have it."""
    meta = {
        "ATTRIBUTES": ["sleeve length", "colour"],
        "ATTRIBUTES_NUM": {"sleeve length": 2, "colour": 3},
        "ATTRIBUTES_VALUES": {"sleeve length": ["Invisible", "Long"]},
    }
    put(root.parent / "meta.json", {root.name: meta})
    for split in ("train", "valid", "test"):
        put(root / f"filenames_{split}.txt", [f"pics/{split}{i}.jpg" for i in range(4)])
        for i in range(4):
            put(root / f"pics/{split}{i}.jpg")
        if split != "train":
            put(root / f"query_{split}.txt", ["0 0 1", "1 1 2", "1 1 0"])
            put(root / f"candidate_{split}.txt", ["2 0 1", "2 1 2", "3 0 0", "3 1 2", "1 0 1"])
    put(root / "label_train.txt", ["0 0 1 1 2", "1 1 0 1 1 0 0", "2 0 1", "3 1 2"])
    return root


def fashion_iq(root: Path) -> Path:
    for category in ("dress", "shirt", "toptee"):
        for split in ("train", "val"):
            names = [f"B00{category}{split}{i}" for i in range(4)]
            first = {"candidate": names[0], "target": names[1], "captions": ["is  red", "has no sleeves "]}
            second = {"candidate": names[0], "target": names[2], "captions": ["is longer", "is blue"]}
            put(root / f"captions/cap.{category}.{split}.json", [first, second])
            put(root / f"image_splits/split.{category}.{split}.json", names)
            for name in names:
                put(root / f"images/{name}.jpg")
    return root


def fashion_gen(root: Path, products: int = 104) -> Path:
    def told(part: str, number: int, views: int) -> dict[str, Any]:
        pictures = [f"{part}_{number}_{view}.png" for view in range(views)]
        return {
            "images": pictures,
            "id": 5000 + number,
            "title": f"Coat {number}",
            "description": "Wool coat, in grey.",
            "category_id": 3,
            "subcategory_id": number % 2 if number < 4 else 9,
            "attributes_id": [1, 2],
        }

    infos = {"train": [told("train", 0, 2)], "val": [told("val", i, 1 + i % 2) for i in range(products)]}
    picture = jpeg()
    for part, info in infos.items():
        put(root / f"{part}_info.json", info)
        (root / part).mkdir()
        for entry in info:
            for name in entry["images"]:
                (root / part / name).write_bytes(picture)
    return root


def lookbench(root: Path) -> Path:
    def row(item: str, category: str = "dress", more: Any = ("midi", "floral"), shade: int = 0) -> dict[str, Any]:
        return {
            "image": {"bytes": jpeg((shade, 90, 90)), "path": "../../evil.jpg"},
            "category": category,
            "main_attribute": "red",
            "other_attributes": list(more),
            "item_ID": item,
            "bbox": [1.0, 2.0, 9.0, 8.0],
        }

    parts = {
        "real_studio_flat/query": [row("a1"), row("b1", "coat", shade=20)],
        "real_studio_flat/gallery": [row("a1", more=("floral", "midi"), shade=40), row("b2", "coat", ("long",), 60)],
        "noise/gallery": [row("n1", "coat", ("long",), 80), row("n2", shade=99)],
    }
    for place, rows in parts.items():
        file = root / f"v20251201/{place}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)
    return root


#: every registered name -> who writes its folder, and an annotation file without which it is not whole
FOLDERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "in-shop": (in_shop, "Eval/list_eval_partition.txt"),
    "sop": (sop, "Ebay_test.txt"),
    "deepfashion2-consumer-to-shop": (deepfashion2, "validation/annos"),
    **dict.fromkeys(("fashionai", "darn", "deepfashion-attributes"), (asen, "candidate_valid.txt")),
    **dict.fromkeys(("fashion-iq-original", "fashion-iq-val"), (fashion_iq, "captions/cap.shirt.val.json")),
    **dict.fromkeys(("fashion-gen-full", "fashion-gen-random-100"), (fashion_gen, "val_info.json")),
    "lookbench-real-studio-flat": (lookbench, "v20251201/noise/gallery.parquet"),
}
