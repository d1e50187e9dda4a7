"""What a recipe says about data. Only pydantic: reading a recipe imports neither torch nor pandas."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Range = tuple[Annotated[float, Field(gt=0.0)], Annotated[float, Field(gt=0.0)]]

#: name -> its fields where they differ from the defaults of AugmentConfig
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "catalogue": {},  # the defaults below
    "street": {"scale": (0.3, 1.0), "ratio": (0.75, 1.33), "color_jitter": 0.3, "erasing": 0.2},
    "none": {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0},
}


class AugmentConfig(BaseModel):
    """How training pictures are varied. A name sets all fields; each field given beside it overrides that one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["catalogue", "street", "none"] = Field(
        "catalogue",
        description="catalogue: mild crops and flips, colours kept, for shop pictures; street: stronger, with colour "
        "jitter and erasing, for photographs by customers; none: the picture exactly as at evaluation.",
    )
    scale: Range = Field(
        (0.6, 1.0), description="Random resized crop: smallest and largest share of the picture's area that is kept."
    )
    ratio: Range = Field(
        (0.8, 1.25), description="Random resized crop: narrowest and widest aspect ratio, width / height."
    )
    flip: Share = Field(0.5, description="Probability of a left-right flip.")
    color_jitter: Share = Field(
        0.0, description="Largest relative change of brightness, contrast and saturation; 0 keeps the colours."
    )
    grayscale: Share = Field(0.0, description="Probability that the colours are taken out.")
    erasing: Share = Field(
        0.0, description="Probability that a rectangle of 2 to 25 % of the area is filled with the mean colour."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_name(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = AUGMENTATIONS.get(given.get("name", "catalogue"), {})
        return {**preset, **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("scale", "ratio"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}: the first number must not be larger than the second, got {low}, {high}")
        if self.scale[1] > 1.0:
            raise ValueError(f"scale: a crop cannot keep more than the whole picture (1.0), got {self.scale[1]}")
        changes = (self.flip, self.color_jitter, self.grayscale, self.erasing)
        if self.name == "none" and (any(changes) or {*self.scale, *self.ratio} != {1.0}):
            raise ValueError("name: none takes no other field; choose catalogue or street and change their fields")
        return self


class DataConfig(BaseModel):
    """Where the pictures are and what the columns of the table mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = Field(
        "",
        description="Path of a CSV, TSV or Parquet file with one row per picture, or the embedded drawn set: "
        '"atelier:products=300,views=4,seed=0" ("atelier-edits:..." is its table of edits: source_image, text, '
        "target_image).",
    )
    root: str | None = Field(
        None, description="Folder that relative picture paths start from. Unset: the folder of the table."
    )
    image: str = Field("image", description="Column with the picture's path. Unset, a column `path` is understood too.")
    label: str | None = Field(
        "label",
        description="Column that says which pictures belong together: product, style, identity. Integers of any size "
        "or text; floats are refused. null: no labels.",
    )
    id: str | None = Field(
        None,
        description="Column with a unique whole number >= 0 per picture, which searches then return. Unset: the row "
        "number in the table, from 0.",
    )
    split: str | None = Field(
        "split",
        description="Column that says what a row is for. null, or no column `split`: every row is for training.",
    )
    train_split: str = Field("train", description="Value of the split column for training.")
    validation_split: str = Field(
        "validation", description="Value of the split column for validation. Unset, val, valid and dev mean it too."
    )
    test_split: str = Field("test", description="Value of the split column for the test.")
    text: str | None = Field(None, description="Column with a text about the picture: title or caption.")
    target: str | None = Field(
        None,
        description="Column with the path of the picture that a picture and its text ask for (task kind composed). A "
        "picture may then stand in several rows. An empty cell: the row asks for nothing, and is a candidate only.",
    )
    attributes: list[str] = Field(
        default_factory=list, description="Columns with attribute values; an empty cell means unknown."
    )
    is_query: str | None = Field(
        None, description="Column (true/false) of the rows that ask in evaluation. Unset: `is_query` if present."
    )
    is_gallery: str | None = Field(
        None, description="Column (true/false) of the rows that are searched. Unset: `is_gallery` if present."
    )
    boxes: tuple[str, str, str, str] | None = Field(
        None,
        description="Columns left, top, right, bottom in pixels: only this part of the picture is used. Unset: "
        "x_1, y_1, x_2, y_2 if all four are present.",
    )
    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0,
        description="Share of the training classes with two or more pictures that become the validation split when "
        "the table has none. Whole classes, chosen by the seed; of a task that classifies, and where there are no "
        "labels, rows instead. 0: no validation.",
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="error: refuse a table with missing or damaged pictures; skip: leave those rows out."
    )
    augment: AugmentConfig = Field(AugmentConfig(), description="How training pictures are varied.")
    decoded: bool = Field(
        False,
        description="Keep decoded pictures, scaled down as far as training allows, in a memory-mapped file in the "
        "cache folder (FASHREG_CACHE, else ~/.cache/fashreg): later epochs and runs decode nothing.",
    )
    workers: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Threads that prepare pictures. Unset: chosen from the processors. 0: no thread."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = (self.train_split, self.validation_split, self.test_split)
        if len(set(names)) < len(names):
            raise ValueError(f"train_split, validation_split and test_split must differ, got {', '.join(names)}")
        if len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes: a column is named twice: {self.attributes}")
        return self
