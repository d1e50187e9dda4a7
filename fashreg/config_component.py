"""How a recipe names a component. Only pydantic: reading a recipe imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator


class ComponentConfig(BaseModel):
    """A component by name with its options: `xbm`, `{name: xbm, capacity: 4096}`, or `{name: xbm, args: {...}}`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="registered name, or plugin:name")
    options: dict[str, Any] = Field(default_factory=dict, description="constructor options (`fashreg show KIND NAME`)")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given}
        if not isinstance(given, Mapping) or set(given) == {"name", "options"}:
            return given
        rest = dict(given)
        name = rest.pop("name", None) or rest.pop("type", None)
        if name is None:
            raise ValueError("a component needs a name, e.g. `loss: contrastive` or `loss: {name: contrastive, ...}`")
        if set(rest) == {"args"} and isinstance(rest["args"], Mapping):
            rest = dict(rest["args"])
        return {"name": name, "options": rest}

    @model_serializer
    def _write(self) -> Any:
        return {"name": self.name, **self.options}
