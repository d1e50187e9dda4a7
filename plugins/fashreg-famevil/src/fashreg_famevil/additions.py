"""What is attached to a CLIP from outside: adapters of each task, the ways across, and what writes with its tokens."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

from torch import nn

from fashreg_famevil.adapter import BottleneckAdapter
from fashreg_famevil.cross_attention import CrossAttentionAdapter
from fashreg_famevil.towers import ImageTower, TextTower, Tower
from fashreg_famevil.writer import TokenScores

SIDES = ("image", "text")


class Additions(nn.Module):
    """The modules beside a CLIP, by task, tower and layer. `AdaptedCLIP` walks them.

    Args:
        clip: the CLIP, which stays as it is.
        towers: views of its two towers.
        bottleneck: of the task-specific adapters.
        cross_bottleneck: of those in the cross-attention.
        adapters: "own" for each task, "one" set for all tasks, "none".
    """

    _image: ImageTower
    _text: TextTower

    def __init__(
        self,
        clip: Any,
        towers: tuple[ImageTower, TextTower],
        bottleneck: int,
        cross_bottleneck: int,
        adapters: Literal["own", "one", "none"],
    ) -> None:
        super().__init__()
        self.clip = clip
        self.__dict__.update(_image=towers[0], _text=towers[1])  # views, not modules of their own
        self.bottleneck, self.cross_bottleneck, self.adapters = bottleneck, cross_bottleneck, adapters
        self.tasks: tuple[str, ...] = ()
        self.task_adapters, self.cross, self.writers = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()

    def add_task(self, task: str) -> None:
        """Fresh adapters for a new task, on the device and in the mode of the others. A known name: ValueError."""
        if not task or task in self.tasks:
            raise ValueError(f"a task needs a new name, not {task!r}; there are {', '.join(self.tasks) or 'none yet'}")
        key = self._key(task)
        if self.adapters != "none" and key not in self.task_adapters:
            widths = {side: (self._tower(side).width, len(self._tower(side))) for side in SIDES}
            made = {
                side: nn.ModuleList(BottleneckAdapter(width, self.bottleneck) for _ in range(depth))
                for side, (width, depth) in widths.items()
            }
            self.task_adapters[key] = self._placed(nn.ModuleDict(made))
        self.tasks = (*self.tasks, task)

    def add_cross(self, side: str) -> None:
        """The way by which the "image" or "text" tower asks the other, fresh; what is there already stays."""
        if side not in self.cross:
            own, other = self._tower(side), self._tower(SIDES[side == "image"])
            made = nn.ModuleList(
                CrossAttentionAdapter(own.width, other.width, own.heads, self.cross_bottleneck) for _ in range(len(own))
            )
            self.cross[side] = self._placed(made)

    def add_writer(self, task: str) -> None:
        """Captions of this task are written with the CLIP's own table of tokens; the others stay as they are."""
        self.adapters_of(task)
        self.writers[_name(task)] = self._placed(TokenScores(self._text.table))

    def adapters_of(self, task: str | None) -> Any:
        """{"image": one for each layer, "text": ...} of a task; None where there are none. ValueError if unknown."""
        if task is None and not self.tasks:
            return None
        if task not in self.tasks:
            near = get_close_matches(task or "", self.tasks, n=1)
            known = ", ".join(self.tasks) or "none yet"
            raise ValueError(
                f"no task {task!r}; " + (f"did you mean {near[0]!r}?" if near else f"the tasks are {known}")
            )
        return None if self.adapters == "none" else self.task_adapters[self._key(task)]

    def writer_of(self, task: str | None) -> TokenScores | None:
        """What scores the tokens for a task with the CLIP's own table; None where the head does."""
        key = _name(task or "")
        found: Any = self.writers[key] if key in self.writers else None  # noqa: SIM401  a ModuleDict has no get
        writer: TokenScores | None = found
        return writer

    def own_of(self, task: str | None) -> list[nn.Module]:
        """The modules of this task alone (adapters may be those of all): its adapters, its writer."""
        found: list[Any] = [self.adapters_of(task), self.writer_of(task)]
        return [module for module in found if module is not None]

    def _across(self, side: str, layer: int) -> CrossAttentionAdapter:
        made: Any = self.cross[side]
        found: CrossAttentionAdapter = made[layer]
        return found

    def _tower(self, side: str) -> Tower:
        return self._image if side == "image" else self._text

    def _placed(self, fresh: nn.Module) -> nn.Module:
        place = next(self.clip.parameters())
        return fresh.to(place.device, place.dtype).train(self.training)

    def _key(self, task: str) -> str:
        """A name that a ModuleDict takes; one for each task, or for all."""
        return _name(task) if self.adapters == "own" else "all_tasks"


def _name(task: str) -> str:
    return "task_" + task.replace("%", "%25").replace(".", "%2E")
