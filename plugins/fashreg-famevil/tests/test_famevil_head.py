"""The head: unit rows, a scale, classes and words, each for the kind of task that has it."""

from __future__ import annotations

import pytest
import torch
from famevil_small import KINDS, small_head
from fashreg_famevil.head import FameViLHead
from fashreg_famevil.losses import matching_logits
from torch import nn


def test_rows_are_the_direction_of_the_features_whatever_the_task() -> None:
    head, features = small_head(), torch.randn(5, 32)
    for task in KINDS:
        assert torch.equal(head(features, task), nn.functional.normalize(features, dim=1))
    assert torch.equal(small_head({})(features), head(features, "find"))


def test_the_scale_starts_at_4_so_that_the_temperature_is_a_sixteenth() -> None:
    head = small_head()
    assert (float(head.scale_of("find").detach()), float(head.scale_of("edit").detach())) == (4.0, 4.0)
    assert head.scale_of("find") is not head.scale_of("edit")
    rows = torch.eye(32)[:3]
    assert torch.allclose(matching_logits(rows, rows, head.scale_of("find")), 16 * torch.eye(3))
    assert float(small_head(scale=2.0).scale_of("find").detach()) == 2.0


def test_classes_are_told_from_the_feature_as_it_comes() -> None:
    head, features = small_head(), torch.randn(5, 32)
    linear = head.head_of("name")
    assert head.classify(features).shape == (5, 3)
    assert torch.equal(head.classify(features, "name"), features @ linear.weight.T + linear.bias)
    assert not torch.allclose(head.classify(2 * features), head.classify(features))


def test_words_are_logits_of_every_token_in_any_shape() -> None:
    head = small_head()
    hidden = torch.randn(2, 7, 48)
    assert head.words(hidden).shape == (2, 7, 1024)
    assert torch.allclose(head.words(hidden[0, 0]), head.words(hidden, "tell")[0, 0], atol=1e-6)


def test_a_task_is_named_where_it_must_be_and_of_the_kind_it_must_be() -> None:
    head = small_head()
    with pytest.raises(ValueError, match="say which task; those that compare rows: find, edit"):
        head.scale_of()
    with pytest.raises(ValueError, match="task 'find' is of kind cross-modal and does not tell classes apart"):
        head.classify(torch.zeros(1, 32), "find")
    with pytest.raises(ValueError, match="none here does; add one of kind captioning"):
        small_head({"find": "cross-modal"}).words(torch.zeros(1, 48))
    with pytest.raises(ValueError, match="did you mean 'edit'"):
        head(torch.zeros(1, 32), "edi")


def test_what_a_kind_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="give classes="):
        FameViLHead(kinds={"name": "classification"}, in_dim=8)
    with pytest.raises(ValueError, match="each once"):
        FameViLHead(kinds={"name": "classification"}, classes={"name": ["a", "a"]}, in_dim=8)
    with pytest.raises(ValueError, match="give text_dim and vocabulary"):
        FameViLHead(kinds={"tell": "captioning"}, in_dim=8)
    with pytest.raises(ValueError, match="the kinds are"):
        FameViLHead(kinds={"tell": "talking"}, in_dim=8)
    with pytest.raises(ValueError, match="above 0"):
        FameViLHead(in_dim=8, scale=0.0)


def test_a_classifier_that_is_added_has_the_classes_it_is_given() -> None:
    head = small_head()
    before = head.classify(torch.ones(1, 32), "name").detach()
    head.add_task("colour", "classification", classes=["red", "blue"])
    assert head.classify(torch.ones(1, 32), "colour").shape == (1, 2)
    assert head.classes["colour"] == ["red", "blue"]
    assert torch.equal(head.classify(torch.ones(1, 32), "name"), before)
