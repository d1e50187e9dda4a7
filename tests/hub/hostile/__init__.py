"""A corpus of hostile folders, as somebody could publish them: made by hand, and each says what must be refused."""

from hostile import configs, evaluations, indexes, manifests, recipes, weights
from hostile.workshop import Hostile

CASES: list[Hostile] = [
    case for room in (manifests, configs, weights, recipes, indexes, evaluations) for case in room.CASES
]
