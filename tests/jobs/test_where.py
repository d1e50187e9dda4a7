from __future__ import annotations

import pandas as pd
import pytest

from fashreg.errors import DataError
from fashreg.jobs.where import ids_where, parse_where

ITEMS = pd.DataFrame(
    {
        "id": [10, 11, 12, 13, 14],
        "category": ["dress", "skirt", "dress", "shirt", None],
        "price": pd.Series(["49.90", 50, 120.0, None, "n/a"], dtype=object),
        "style": pd.Series(["007", "7", 7, 2**60 + 1, ""], dtype=object),
        "new": pd.Series([True, False, True, None, False], dtype=object),
        "a b=c": ["x,y", "x", "y", "", ""],
    }
)


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("category=dress", [10, 12]),
        ("category=dress,shirt", [10, 12, 13]),
        ("category!=dress,shirt", [11, 14]),
        ("category=", [14]),
        (" category = dress ", [10, 12]),
        (["category=dress", "price<100"], [10]),
        ("price<50", [10]),
        ("price<=50", [10, 11]),
        ("price>=50", [11, 12]),
        ("price>1e2", [12]),
        ("price=120", [12]),
        ("style=7", [11, 12]),
        ("style=007", [10]),
        (f"style={2**60 + 1}", [13]),
        ("new=true", [10, 12]),
        ({"a b=c": "x,y"}, [10]),
        ({"category": ["skirt", "dress"], "new": False}, [11]),
        ({"style": 7}, [11, 12]),
    ],
)
def test_a_filter_chooses_exactly_the_pictures_of_which_it_holds(where, ids):
    assert ids_where(ITEMS, where).tolist() == ids


def test_no_filter_is_no_filter():
    assert ids_where(ITEMS, None) is None
    assert ids_where(ITEMS, []) is None


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("categroy=dress", 'no column "categroy"; did you mean "category"?'),
        ("season=summer", "others are kept by: fashreg index build"),
        ("category=coat", "no picture of the index has category=coat; category is one of: , dress, shirt, skirt"),
        (["category=skirt", "price>100"], "has price>100 together with category=skirt"),
        ("price<cheap", "compares with 'cheap', which is not a number"),
        ("price<1,2", "not a number"),
        ("price<nan", "not a number"),
        ("category", "not of the form column=value"),
        ("=dress", "not of the form"),
        (f"style={2**60}", "no picture"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(where, says):
    with pytest.raises(DataError, match=says.replace("?", r"\?")):
        ids_where(ITEMS, where)


def test_conditions_say_themselves():
    assert [str(c) for c in parse_where(["a=b,c", "d<5"])] == ["a=b,c", "d<5"]
