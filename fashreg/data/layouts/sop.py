"""Stanford Online Products."""

from __future__ import annotations

import pandas as pd

from fashreg.data.layouts.folder import Converted, Folder, Layout

_FILES = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}


def _read(folder: Folder) -> Converted:
    rows = []
    for split, name in _FILES.items():
        file = folder.find(name)
        for _, item, _, image in folder.table(file, ("image_id", "class_id", "super_class_id", "path")):
            rows.append((image, item, split, image.split("/")[0].removesuffix("_final")))
    return Converted(pd.DataFrame(rows, columns=["image", "label", "split", "category"]), folder.path)


LAYOUTS = (
    Layout(
        "sop",
        "Stanford Online Products",
        ("Ebay_train.txt", "Ebay_test.txt", "bicycle_final/ and the other eleven folders of pictures"),
        _read,
        "Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, "
        "https://cvgl.stanford.edu/projects/lifted_struct/",
        note="Leave-one-out within the test split. The full set has 59,551 training pictures of 11,318 products and "
        "60,502 test pictures of 11,316.",
    ),
)
