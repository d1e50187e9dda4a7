"""YAML read strictly: plain data only, no duplicate keys, nothing that grows when read, and 1e-4 is a number."""

from __future__ import annotations

import re
from typing import Any

import yaml

_MOST_VALUES = 100_000  # that a text may mean, aliases counted each time they are named
_DEEPEST = 100
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}


def read_yaml(text: str) -> Any:
    """The plain data in a YAML (or JSON) text: mappings, lists, texts, numbers, truth values, null.

    Raises yaml.YAMLError for anything else: tags, keys that stand twice or are no plain values, aliases that name what
    they stand in, or stand for more than 100,000 values in all. A date is text.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except yaml.YAMLError:
        raise
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists within lists without end
        raise yaml.YAMLError(f"it cannot be read: {error}") from None


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses what is not plain data and reads 1e-4 as the number people mean."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Lists within lists: PyYAML takes the square of their depth in time."""
        if self.flow_level >= _DEEPEST:
            raise yaml.scanner.ScannerError(None, None, f"more than {_DEEPEST} lists within lists", self.get_mark())
        super().fetch_flow_collection_start(token)

    def get_single_node(self) -> Any:
        """The one document as nodes, whose size is known before any value is made."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node


def _count(node: yaml.Node, known: dict[yaml.Node, int | None]) -> int:
    """How many values a node means; what is named several times is looked at once. None: not yet known."""
    if node.tag not in _PLAIN:
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag!r} is not plain data", node.start_mark)
    if node in known:
        if (size := known[node]) is None:
            raise yaml.constructor.ConstructorError(None, None, "an alias names what it stands in", node.start_mark)
        return size
    known[node], parts = None, []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    total = 1 + sum(_count(part, known) for part in parts)
    if total > _MOST_VALUES:
        raise yaml.constructor.ConstructorError(None, None, f"more than {_MOST_VALUES:,} values", node.start_mark)
    known[node] = total
    return total


def _mapping(loader: _StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool) or key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} stands twice or is not plain", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


def _truth(loader: _StrictLoader, node: yaml.ScalarNode) -> bool:
    try:
        return bool(loader.construct_yaml_bool(node))
    except KeyError:
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value!r} is neither true nor false", node.start_mark
        ) from None


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _truth)
_StrictLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
