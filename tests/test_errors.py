"""Errors as values."""

from __future__ import annotations

import copy

import pytest

from fashreg.errors import DataError, FashregError, HubError, OptionError, RequirementError, UnknownComponentError


@pytest.mark.parametrize(
    "error",
    [
        FashregError("plain"),
        UnknownComponentError("no loss", kind="loss", name="contrastiv", near=("contrastive",)),
        OptionError("no option", field="margin"),
        RequirementError("install it", needs=("fashreg-acbn",)),
        DataError("rows", rows=(1, 2), column="label"),
        HubError("refused", repo="ann/x", status=403),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_whole_out_of_another_process(error: FashregError) -> None:
    again = copy.copy(error)  # the protocol by which processes hand on what they raise
    assert type(again) is type(error)
    assert again is not error
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.args == error.args
