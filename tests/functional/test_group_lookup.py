import torch
from hypothesis import given
from hypothesis import strategies as st

from fashreg.functional.group_lookup import GroupLookup, places_in_groups


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=6, unique=True).map(sorted), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_an_id_is_found_in_its_group_and_in_no_other(groups, sparse, apart):
    """Ids small and large (a table, or a search), each in one group or in several; in tables and by bisection."""
    far = 2**40 if sparse else 1
    groups = [[(13 * i * apart + x) * far for x in group] for i, group in enumerate(groups)]
    flat = [x for group in groups for x in group]
    ends = torch.tensor([len(group) for group in groups]).cumsum(0)
    offsets, ids = torch.cat([torch.zeros(1, dtype=torch.int64), ends]), torch.tensor(flat, dtype=torch.int64)
    asked = [-1, -(2**62), 2**62, *range(70), *(x * far for x in range(70)), *(x * far + 1 for x in range(3))]
    starts = [0, *ends.tolist()]
    wanted = [[starts[i] + g.index(x) if x in g else -1 for x in asked] for i, g in enumerate(groups)]
    table, own = torch.tensor(asked).expand(len(groups), -1), torch.arange(len(groups))
    assert GroupLookup(offsets, ids).positions(table, own).tolist() == wanted
    assert places_in_groups(offsets, ids, table, own).tolist() == wanted
