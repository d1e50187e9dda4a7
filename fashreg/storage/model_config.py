"""What `config.json` of a model folder says: components by name, never by import path. Strict in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fashreg.errors import ModelError
from fashreg.strict_json import read_json
from fashreg.values import InputSpec

FORMAT: Literal["fashreg-model/1"] = "fashreg-model/1"
_NAME = r"^[a-z0-9][a-z0-9._-]*$"
Side = Annotated[int, Field(gt=0, le=16384)]
Level = Annotated[float, Field(allow_inf_nan=False)]


class ComponentSpec(BaseModel):
    """One component: what `fashreg.assembly.spec_of` gives."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=_NAME, max_length=100)]
    plugin: Annotated[str, Field(pattern=_NAME, max_length=200)]
    version: Annotated[str, Field(max_length=100)]
    config: dict[str, Any]


class InputConfig(BaseModel):
    """`fashreg.values.InputSpec` as it is written."""

    model_config = ConfigDict(extra="forbid")

    size: tuple[Side, Side]
    mean: tuple[Level, Level, Level]
    std: tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...] = Field(min_length=3, max_length=3)
    interpolation: Literal["bicubic", "bilinear", "nearest"]
    crop: Annotated[float, Field(gt=0.0, le=1.0)]


class ModelConfig(BaseModel):
    """The whole of config.json."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["fashreg-model/1"]
    fashreg: Annotated[str, Field(max_length=100)]
    backbone: ComponentSpec
    head: ComponentSpec
    input_spec: InputConfig
    embed_dim: Annotated[int, Field(gt=0)]
    provenance: dict[str, Any]

    def spec(self) -> InputSpec:
        """How pictures become tensors."""
        return InputSpec(**{**self.input_spec.model_dump(), "std": tuple(self.input_spec.std)})


def read_model_config(path: Path) -> ModelConfig:
    """The checked content of a config.json; ModelError names the field that is wrong."""
    content = read_json(path)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        hint = "; it was written by a newer fashreg: pip install --upgrade fashreg" if _is_newer(found) else ""
        raise ModelError(f"{path} has the format {found!r}, this version reads {FORMAT!r}{hint}")
    try:
        return ModelConfig.model_validate(content)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        raise ModelError(f"{path} cannot be used: {'; '.join(lines)}") from None


def _is_newer(found: Any) -> bool:
    name, _, number = str(found).partition("/")
    return name == FORMAT.partition("/")[0] and number.isdigit() and int(number) > 1
