"""What `config.json` of a model folder says: components by name, never by import path. Strict in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fashreg.errors import HubError, ModelError
from fashreg.hub.address import checked_repo
from fashreg.licences import checked_licence
from fashreg.storage.migrations import migrated
from fashreg.strict_json import read_json
from fashreg.values import InputSpec

FORMAT: Literal["fashreg-model/2"] = "fashreg-model/2"
_NAME = r"^[a-z0-9][a-z0-9._-]*$"
_LARGEST = 2 * 2**20
Side = Annotated[int, Field(gt=0, le=4096)]
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
    crop: Annotated[float, Field(ge=0.05, le=1.0)]


def _repository(name: str) -> str:
    try:
        return checked_repo(name)
    except HubError as error:
        raise ValueError(str(error)) from None


class BaseConfig(BaseModel):
    """The model that another one goes on from: what is not in the weights file is taken from there, to the bit.

    commit: of the repository. fingerprint: of its encoder (`Encoder.fingerprint`).
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    repo: Annotated[str, Field(max_length=200), AfterValidator(_repository)]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"


class ModelConfig(BaseModel):
    """The whole of config.json, format 2. licence: an SPDX identifier or the Hub's, None where nobody said."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["fashreg-model/2"]
    fashreg: Annotated[str, Field(max_length=100)]
    backbone: ComponentSpec
    head: ComponentSpec
    input_spec: InputConfig
    embed_dim: Annotated[int, Field(gt=0)]
    licence: Annotated[str, AfterValidator(checked_licence)] | None = None
    base: BaseConfig | None = None
    provenance: dict[str, Any]

    def spec(self) -> InputSpec:
        """How pictures become tensors."""
        return InputSpec(**{**self.input_spec.model_dump(), "std": tuple(self.input_spec.std)})


def read_model_config(path: Path) -> ModelConfig:
    """The checked content of a config.json of this or an earlier format; ModelError names the field that is wrong."""
    content = migrated(read_json(path, max_bytes=_LARGEST), where=str(path))
    try:
        return ModelConfig.model_validate(content)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        raise ModelError(f"{path} cannot be used: {'; '.join(lines)}") from None
