"""What asking an old gallery with a new model costs, task by task, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fashreg.functional.gain import Share
from fashreg.functional.uncertainty import PairedTest

#: keep, stay, leave: nothing is embedded again; ask: the new model asks the old gallery
Advice = Literal["keep", "ask", "ask-then-embed", "embed", "stay", "leave"]


@dataclass(frozen=True, slots=True)
class Crossed:
    """One metric of the three ways to search. Written queries/gallery: new_old asks old vectors with new queries.

    crossed: new/old - old/old, what a change of the asking model alone does. gain: new/new - old/old, what a gallery
    embedded again brings. left: new/new - new/old, what it brings beyond asking with the new model. share: of the gain,
    what is there without it; None where there is surely no gain.
    """

    old_old: float
    new_old: float
    new_new: float
    crossed: PairedTest
    gain: PairedTest
    left: PairedTest
    share: Share | None


@dataclass(frozen=True, slots=True)
class TaskCompatibility:
    """One task of two models. task: None for models without tasks. same: its vectors are equal to the bit.

    widths: of the old and the new vectors; where they differ nothing could be compared. metrics: by name, {} where
    nothing was. advice: what to do, by the primary metric; `sentence` says it.
    """

    task: str | None
    same: bool
    widths: tuple[int, int]
    queries: int
    gallery: int
    metrics: dict[str, Crossed]
    primary: str

    @property
    def name(self) -> str:
        """The task as a reader is told of it."""
        return "the gallery" if self.task is None else self.task

    @property
    def advice(self) -> Advice:
        """Ask with which model, and embed again or not. An interval that holds 0 shows no difference."""
        if self.same:
            return "keep"
        if not self.metrics:
            return "embed"
        found = self.metrics[self.primary]
        if found.gain.high < 0:
            return "stay"
        if found.crossed.low > 0:
            return "ask-then-embed" if found.left.low > 0 else "ask"
        if found.gain.low > 0:
            return "embed"
        return "stay" if found.crossed.high < 0 else "leave"

    @property
    def sentence(self) -> str:
        """What to do and why, in one sentence."""
        if self.same:
            return "keep the gallery: the new model's vectors are the old one's to the bit, so it may ask at once"
        if not self.metrics:
            old, new = self.widths
            return f"embed the gallery again: its vectors are {old} wide and the new model's {new}, so it cannot ask it"
        found = self.metrics[self.primary]
        crossed, gain, left = (f"{self.primary} {_told(test)}" for test in (found.crossed, found.gain, found.left))
        lost = found.crossed.high < 0
        return {
            "ask": f"ask the old gallery with the new model (--across-models), {crossed}; these queries do not show "
            f"that embedding it again would add anything, {left}",
            "ask-then-embed": f"ask the old gallery with the new model (--across-models), {crossed}; embedding it "
            f"again would add more, {left}",
            "embed": f"embed the gallery again, {gain}; until then ask with "
            + (f"the old model, because with the new one {crossed}" if lost else f"either model, {crossed}"),
            "stay": "keep the old model and its gallery: "
            + (
                f"the new one finds less even in a gallery embedded again, {gain}"
                if found.gain.high < 0
                else f"the new one finds less in it, {crossed}, and embedding it again shows no gain, {gain}"
            ),
            "leave": "leave everything as it is: these queries show no difference when the new model asks the old "
            f"gallery, {crossed}, and none after embedding it again, {gain}",
        }[self.advice]

    def lines(self) -> list[str]:
        """A small table for a terminal."""
        title = f"{self.name}: {self.queries} queries, {self.gallery} pictures searched"
        return [title, *(self._alone() if self.same else self._table()), f"  -> {self.sentence}"]

    def _alone(self) -> list[str]:
        """The numbers of vectors that are the same in both models."""
        return [f"  {name:<16}{found.new_new:9.4f}" for name, found in self.metrics.items()]

    def _table(self) -> list[str]:
        if not self.metrics:
            return []
        head = f"  {'queries/gallery':<16}{'old/old':>9}{'new/old':>9}{'new/new':>9}"
        lines = [f"{head}   {'new/old - old/old':<26}   new/new - new/old"]
        for name, found in self.metrics.items():
            numbers = "".join(f"{value:9.4f}" for value in (found.old_old, found.new_old, found.new_new))
            lines.append(f"  {name:<16}{numbers}   {_told(found.crossed):<26}   {_told(found.left)}")
        share = self.metrics[self.primary].share
        if share is not None and share.value > 0:
            told = f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"
            lines.append(f"  of the gain in {self.primary}, {told} is there without embedding again")
        return lines


@dataclass(frozen=True)
class Compatibility:
    """Two models on one table. tasks: those that both serve. fresh: served by the new one only.

    rate: pictures that the new model embeds in a second here, all its tasks in one pass; None where none was embedded.
    """

    old: str
    new: str
    source: str
    rule: str
    resampled: str | None
    tasks: tuple[TaskCompatibility, ...]
    fresh: tuple[str, ...] = ()
    rate: float | None = None

    def __getitem__(self, task: str | None) -> TaskCompatibility:
        found = {of.task: of for of in self.tasks}
        return found[task]

    @property
    def sentence(self) -> str:
        """Must the gallery be embedded again? For which tasks, in one sentence."""
        again = [of.name for of in self.tasks if of.advice == "embed"]
        gains = [of.name for of in self.tasks if of.advice == "ask-then-embed"]
        said = [f"embed again for {', '.join(again)}"] if again else ["no gallery must be embedded again"]
        said += [f"it would help for {', '.join(gains)}"] if gains else []
        said += [f"{', '.join(self.fresh)} is new and has no gallery yet"] if self.fresh else []
        return "; ".join(said)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "old": self.old,
            "new": self.new,
            "source": self.source,
            "rule": self.rule,
            "resampled": self.resampled,
            "tasks": [{**asdict(of), "advice": of.advice, "sentence": of.sentence} for of in self.tasks],
            "fresh": list(self.fresh),
            "pictures_per_second": self.rate,
            "sentence": self.sentence,
        }

    def summary(self) -> str:
        """What a terminal shows."""
        over = "queries" if self.resampled is None else f"groups of queries with equal {self.resampled}"
        lines = [f"OLD: {self.old}", f"NEW: {self.new}", f"{self.source}: {self.rule}, 95 % intervals over {over}"]
        for of in self.tasks:
            lines += ["", *of.lines()]
        for task in self.fresh:
            build = f"fashreg index build {self.new} --table TABLE --task {task} --out FOLDER"
            lines += ["", f"{task}: only the new model has it", f"  -> make its gallery: {build}"]
        lines += ["", self.sentence]
        if self.rate is not None:
            hours = 1e6 / self.rate / 3600
            lines.append(f"here {self.rate:.0f} pictures a second are embedded: {hours:.1f} hours for a million")
        return "\n".join(lines)


def _told(test: PairedTest) -> str:
    return f"{test.difference:+.4f} [{test.low:+.4f}, {test.high:+.4f}]"
