"""In-Shop Clothes Retrieval, one of the benchmarks of DeepFashion."""

from __future__ import annotations

import pandas as pd

from fashreg.data.layouts.folder import Converted, Folder, Layout

_PARTITION = ("Eval/list_eval_partition.txt", "list_eval_partition.txt")
_SPLITS = {"train": "train", "query": "test", "gallery": "test"}


def _read(folder: Folder) -> Converted:
    partition = folder.find(*_PARTITION)
    root = folder.find("img", "Img/img").parent
    rows = []
    header = ("image_name", "item_id", "evaluation_status")
    for number, (image, item, status) in enumerate(folder.table(partition, header, counted=True), start=3):
        place = image.split("/")
        if status not in _SPLITS or len(place) < 4:
            raise folder.fail(
                partition, f"line {number} is not `img/GENDER/CATEGORY/.../PICTURE ITEM train|query|gallery`"
            )
        rows.append((image, item, _SPLITS[status], status == "query", status == "gallery", place[1], place[2]))
    columns = ["image", "label", "split", "is_query", "is_gallery", "gender", "category"]
    return Converted(pd.DataFrame(rows, columns=columns), root)


LAYOUTS = (
    Layout(
        "in-shop",
        "In-Shop Clothes Retrieval (DeepFashion)",
        ("Eval/list_eval_partition.txt", "img/ (or Img/img/)"),
        _read,
        "Liu et al., DeepFashion, CVPR 2016, https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html",
        note="Test queries are searched in the test gallery; whole pictures, no boxes. The full set has 25,882 "
        "training pictures of 3,997 items, and 14,218 queries against 12,612 pictures of 3,985 items.",
    ),
)
