from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fashreg.training.packing import pack, unpack

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.text(max_size=4) | st.integers(-3, 3) | st.just("#tensor") | st.just("#items")


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda part: st.lists(part, max_size=3) | st.tuples(part, part) | st.dictionaries(KEYS, part, max_size=3),
        max_leaves=8,
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor | np.ndarray):
        both = torch.as_tensor(one), torch.as_tensor(other)
        return type(one) is type(other) and one.dtype == other.dtype and torch.equal(*both)
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def there_and_back(tree: Any) -> Any:
    tensors, plain = pack(tree)
    return unpack(tensors, json.loads(json.dumps(plain, allow_nan=False)))


@given(trees(LEAVES | st.builds(lambda n: torch.arange(n), st.integers(0, 3))))
def test_any_tree_comes_back_with_its_types(tree: Any) -> None:
    assert same(tree, there_and_back(tree))


def test_an_optimisers_state_comes_back() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    back = there_and_back(state)
    assert same(state, back)
    torch.optim.AdamW([weight]).load_state_dict(back)


def test_arrays_keep_their_type_and_tensors_are_copies() -> None:
    words, row = np.arange(4, dtype=np.uint32), torch.ones(3)
    tensors, plain = pack({"words": words, "row": row})
    row.zero_()
    back = unpack(tensors, plain)
    assert same(back["words"], words)
    assert bool((back["row"] == 1).all())


def test_equal_tensors_and_names_that_collide_are_kept_apart() -> None:
    row = torch.arange(3)
    back = there_and_back({"a": {"b": row}, "a.b": row + 1, 1: row + 2, "1": row + 3})
    assert [int(value[0]) for value in (back["a"]["b"], back["a.b"], back[1], back["1"])] == [0, 1, 2, 3]


def test_what_a_checkpoint_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"teacher\.net holds a Linear"):
        pack({"teacher": {"net": torch.nn.Linear(1, 1)}})
