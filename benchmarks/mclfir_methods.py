"""The methods of mclfir_real.py, what is tried of each, and their variants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mclfir_cell import Method, Settings


@dataclass(frozen=True)
class Variant:
    """A method at the settings that were chosen for another one, some of them changed."""

    method: Method
    like: Method
    changed: Settings = ()
    seeds: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        return f"{self.method.name} ({', '.join(f'{name} {value:g}' for name, value in self.changed)})"


def mcl(name: str, **options: Any) -> Method:
    return Method(name, "mcl-fir", tuple({"mode": "shared", **options}.items()))


ZERO = Method("zero-shot", "none")
FROZEN = Method("frozen + heads", "fine-tune", (("encoder", "frozen"),))
SFT = Method("sft", "fine-tune")
ONE = Method("sft, one head for all", "fine-tune", head="single")
LWF = Method("lwf", "lwf")
EWC = Method("ewc", "ewc", (("tuples", 400), ("per", "batch")))
REPLAY = Method("replay", "replay", (("selection", "random"),))
#: Pictures are chosen by their embedding: all are embedded once more, from what the product keeps of the frozen stages.
HERDING = Method("replay, herding", "replay", trainer=(("cache", "features"), ("cache_dtype", "fp32")))
PAPER = mcl("mcl-fir", teacher="rolling", target="features", teacher_view="second")
OURS = mcl("mcl-fir, frozen, old-heads", teacher="frozen", target="old-heads", teacher_view="second")
OWN = Method(
    "mcl-fir independent",
    "mcl-fir",
    (("mode", "independent"), ("teacher", "frozen"), ("target", "features")),
    head="own",
)
EQUAL = Method("joint at equal cost", "joint", stretch=4 / 3)
FULL = Method("joint-full", "joint", stretch=4.0)
TRIPLET = Method(
    "joint, triplet", "joint", stretch=4 / 3, loss=(("name", "triplet"), ("margin", 0.2), ("mining", "all"))
)
RETRAIN = Method("retrain-each", "retrain")
CONTINUAL = (SFT, LWF, EWC, REPLAY)
#: The method's own number, with its middle value first.
GRIDS: dict[str, tuple[str, tuple[float, ...]]] = {
    LWF.name: ("weight", (1.0, 0.1, 10.0)),
    EWC.name: ("weight", (1e3, 1e2, 1e4)),
    REPLAY.name: ("images", (500, 200, 2000)),
    PAPER.name: ("weight", (1e-2, 1e-4, 1.0)),
    OURS.name: ("weight", (1.0, 0.1, 10.0)),
    OWN.name: ("weight", (1e-2, 1e-4, 1.0)),
}
HEADLINE = (FROZEN, SFT, LWF, EWC, REPLAY, PAPER, OURS)
LONE = (OWN, EQUAL, FULL)


def kept(name: str, **options: Any) -> Method:
    """OURS with other options."""
    return mcl(name, **{k: v for k, v in OURS.options if k != "mode"} | options)


FAST, SLOWER = (("lr", 3e-3),), (("backbone_lr_factor", 0.3),)  # heads at the rate they like best, the trunk as before
TEN = (("weight", 10.0),)
DISTIL = (("selection", "random"), ("distil", True))
SAME = kept("frozen, old-heads, same view", teacher_view="same")
THREE = (0, 1, 2)  # seeds of what says most
NEAREST = Variant(SAME, OURS, (("weight", 3.0),), THREE)
VARIANTS = (
    NEAREST,
    Variant(OURS, OURS, TEN, THREE),
    Variant(replace(REPLAY, name="replay that distils", options=DISTIL), REPLAY, TEN, THREE),
    Variant(HERDING, REPLAY, seeds=THREE),
    Variant(replace(HERDING, name="replay that distils, herding", options=(("distil", True),)), REPLAY, TEN),
    Variant(replace(OURS, name="frozen, old-heads, faster heads", trainer=SLOWER), OURS, (*FAST, *TEN)),
    Variant(kept("frozen, old-heads, trunk learns in the first alone", encoder="first"), OURS, seeds=THREE),
    Variant(kept("rolling, old-heads", teacher="rolling"), OURS, TEN),
    Variant(SAME, OURS, TEN),
    Variant(replace(SAME, name="frozen, old-heads, same view, faster heads", trainer=SLOWER), OURS, (*FAST, *TEN)),
    Variant(replace(REPLAY, name="replay that distils, faster heads", options=DISTIL, trainer=SLOWER), REPLAY,
            (*FAST, *TEN)),
    Variant(replace(EQUAL, name="joint at equal cost, faster heads", trainer=SLOWER), EQUAL, FAST),
    Variant(replace(SAME, name="frozen, old-heads, same view, batch norm trained",
                    options=(*SAME.options, ("batch_norm", "trained"))), OURS, TEN),
    Variant(replace(SAME, name="frozen, old-heads, same view, no mask", loss=(("mask_same_value", False),)), OURS, TEN),
    Variant(mcl("rolling, embeddings", target="embeddings", teacher_view="second"), PAPER),
    Variant(mcl("frozen, features", teacher="frozen", target="features", teacher_view="second"), PAPER, seeds=THREE),
    Variant(mcl("rolling, features, decay 0.88", teacher="rolling", decay=0.88, teacher_view="second"), PAPER,
            seeds=THREE),
    Variant(mcl("restarted, features", teacher="restarted", target="features", teacher_view="second"), PAPER,
            seeds=THREE),
    Variant(mcl("rolling, features, same view"), PAPER),
    Variant(ONE, SFT), Variant(TRIPLET, EQUAL), Variant(RETRAIN, EQUAL),
    Variant(replace(SFT, name="sft, faster heads", trainer=SLOWER), SFT, FAST),
    Variant(SAME, OURS, (("weight", 30.0),)),
    Variant(replace(REPLAY, name="replay that distils", options=DISTIL), REPLAY, (("images", 2000), *TEN)),
)  # fmt: skip
#: Part "whole", and those of which two learning rates were tried there.
WHOLE_TRIED = (SFT, LWF)
WHOLE = (ZERO, SFT, LWF, EWC, REPLAY, PAPER, SAME, EQUAL)
