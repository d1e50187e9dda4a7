"""What a recipe says about learning in increments. Only pydantic: reading a recipe imports neither torch nor pandas."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StreamConfig(BaseModel):
    """A row of experiences instead of one: attribute after attribute, or the values of one attribute in stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["attribute", "value"] = Field(
        "attribute",
        description="attribute: every experience teaches one attribute, in a head of its name; value: the values of "
        "one attribute come in stages, each with a head of its own.",
    )
    order: list[str] = Field(
        default_factory=list,
        description="What comes when: attributes (by: attribute; [] = data.attributes), or values of the attribute "
        "(by: value; [] = the table's, in the order of their names). What is left out is not learned.",
    )
    heads: Literal["own", "one"] = Field(
        "own",
        description="own: a head for each experience (head: multi-task); one: a single head learns everything in turn, "
        "which forgets most and is of use as a lower bound.",
    )
    attribute: str | None = Field(None, description="by: value: the attribute whose values come in stages.")
    stages: Annotated[int, Field(ge=2)] = Field(5, description="by: value: how many stages, as equal as can be.")
    least: Annotated[int, Field(ge=2)] = Field(
        2, description="Values with fewer training pictures are not learned; a pair needs two."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = sorted({name for name in self.order if self.order.count(name) > 1})
        if twice:
            raise ValueError(f"order names {', '.join(twice)} more than once; every one comes once")
        if self.by == "value" and self.attribute is None:
            raise ValueError("by: value needs the attribute whose values come in stages: --set stream.attribute=NAME")
        if self.by == "attribute" and self.attribute is not None:
            raise ValueError(
                "attribute is for by: value; with by: attribute the attributes stand in order, "
                f"e.g. --set stream.order=[{self.attribute}]"
            )
        return self
