"""What a component is: a class whose constructor is its schema. No torch, and pydantic only when a schema is asked for.

A constructor is fully annotated, takes neither *args nor **kwargs, and keeps each parameter as the attribute of the
same name. From that alone come its options, their checks, its documentation and its spec.
"""

from __future__ import annotations

import functools
import inspect
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

from fashreg.errors import OptionError
from fashreg.interfaces import KINDS

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Constructor parameters that assembly fills when a recipe leaves them out. Nothing else is ever filled.
RUN_FACTS: dict[str, str] = {
    "in_dim": "width of the features a head receives (the backbone's out_dim, or map_dim for a head on maps)",
    "embed_dim": "width D of the embedding (the head's out_dim)",
    "num_classes": "number of classes C of the training split",
    "labels": "(N,) int64 class index of every training row",
    "attributes": "attribute name -> number of values, of the training table",
    "num_images": "number of training rows",
    "kinds": "task name -> its kind, of the recipe's tasks",
    "classes": "task name -> names of its classes in the order of their codes, of tasks of kind classification",
    "text_dim": "width of the text features (the backbone's text_dim); only a backbone that has it gives it",
    "vocabulary": "number of text tokens (the backbone's vocabulary); only a backbone that has it gives it",
    "batch_size": "global batch size B, over all processes",
    "seed": "the recipe's seed",
    "rank": "index of this process",
    "world_size": "number of processes",
}

#: Facts as long as the data: never written into a spec.
BULK_FACTS = frozenset({"labels"})

_MISSING: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Option:
    """One constructor parameter, as `fashreg show` prints it.

    component: the kind when the parameter takes a component. many: "" for one, "list" or "dict" for several.
    """

    name: str
    annotation: Any
    default: Any
    meaning: str = ""
    component: str = ""
    many: str = ""

    @property
    def required(self) -> bool:
        """True when the recipe must give it (no default, and not a fact of the run)."""
        return self.default is _MISSING and not self.fact

    @property
    def fact(self) -> bool:
        """True when assembly fills it if it is left out."""
        return self.name in RUN_FACTS

    @property
    def type_text(self) -> str:
        """The annotation as a person writes it."""
        return _text_of(self.annotation)


@dataclass(frozen=True, slots=True)
class Documentation:
    """What a component's docstring says: first line, whole text, the `Source:` entries, meaning per parameter."""

    summary: str
    text: str
    sources: tuple[str, ...]
    meanings: Mapping[str, str]


def nearest(word: str, known: typing.Iterable[str]) -> tuple[str, ...]:
    """Up to three of `known` that look like `word`, best first; swapped letters are the nearest of all."""
    plain = word.lower().replace("_", "-")
    choices = {str(k).lower().replace("_", "-"): str(k) for k in known}
    matches = get_close_matches(plain, list(choices), n=3, cutoff=0.6)
    return tuple(choices[m] for m in sorted(matches, key=lambda m: sorted(m) != sorted(plain)))


@functools.cache
def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a component class, in the constructor's order.

    Raises OptionError for a constructor that cannot be a schema: *args, **kwargs or a parameter without annotation.
    """
    signature = inspect.signature(cls)
    try:
        hints = typing.get_type_hints(inspect.getattr_static(cls, "__init__"), include_extras=True)
    except NameError as error:
        raise OptionError(
            f"{cls.__qualname__}: {error}; names in constructor annotations must be importable at run time "
            "(not only under TYPE_CHECKING)"
        ) from error
    meanings = documentation_of(cls).meanings
    found = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name not in hints:
            raise OptionError(
                f"{cls.__qualname__}.__init__ cannot be a schema: parameter {name!r} is not a plain annotated one "
                "(no *args, no **kwargs, every parameter annotated)",
                field=name,
            )
        kind, many = _component_kind(hints[name])
        meaning = meanings.get(name) or _field_description(hints[name]) or RUN_FACTS.get(name, "")
        found.append(Option(name, hints[name], parameter.default, meaning, kind, many))
    return tuple(found)


def documentation_of(cls: type) -> Documentation:
    """The docstring of a component class, taken apart (Google style; `Source:` lines name the paper)."""
    text = inspect.getdoc(cls) or ""
    summary = text.partition("\n")[0]
    sources = tuple(" ".join(s.split()) for s in re.findall(r"^Source:\s*((?:.+\n?)(?:[ \t]+.+\n?)*)", text, re.M))
    meanings: dict[str, str] = {}
    block = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text + "\n", re.M)
    if block:
        lines = [line for line in block.group(1).splitlines() if line.strip()]
        indent = min(len(line) - len(line.lstrip()) for line in lines)
        current = ""
        for line in lines:
            head = re.match(r"(\w+)(?:\s*\([^)]*\))?:\s*(.*)", line[indent:])
            if head and not line[indent:][0].isspace():
                current = head.group(1)
                meanings[current] = head.group(2).strip()
            elif current:
                meanings[current] = f"{meanings[current]} {line.strip()}".strip()
    return Documentation(summary, text, sources, meanings)


@functools.cache
def config_model(cls: type) -> type[BaseModel]:
    """A strict pydantic model of the options of a component class (unknown keys are errors; facts may be left out)."""
    import pydantic

    fields: dict[str, Any] = {}
    for option in options_of(cls):
        annotation: Any = Any if option.component or option.name in BULK_FACTS else option.annotation
        default = None if option.default is _MISSING and option.fact else option.default
        if option.default is _MISSING and option.fact:
            annotation = annotation | None if annotation is not Any else Any
        fields[option.name] = (annotation, ... if default is _MISSING else default)
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    try:
        return pydantic.create_model(f"{cls.__name__}Config", __config__=config, **fields)
    except (pydantic.errors.PydanticUserError, TypeError) as error:
        raise OptionError(f"{cls.__qualname__}: its constructor cannot be read as a schema: {error}") from error


def checked_options(cls: type, given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The given options with pydantic's conversions applied; only what was given comes back.

    where: how the message names the component, e.g. `loss "contrastive"`. Raises OptionError naming every mistake.
    """
    import pydantic

    known = {option.name for option in options_of(cls)}
    for name in given:
        if name not in known:
            near = nearest(str(name), known)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(sorted(known)) or 'nothing'}"
            raise OptionError(f"{where} has no option {name!r}{hint}", field=str(name))
    model = config_model(cls)
    try:
        values = model.model_validate(dict(given))
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'options'}: {e['msg']}{_got(e)}" for e in error.errors()]
        first = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        raise OptionError(f"{where}: " + "; ".join(lines), field=first) from None
    return {name: getattr(values, name) for name in given}


def _got(error: Any) -> str:
    return "" if error["type"] == "missing" else f" (got {reprlib.repr(error['input'])})"


def _component_kind(annotation: Any) -> tuple[str, str]:
    """(kind, many) of an annotation that names a contract, ("", "") otherwise."""
    if annotation in KINDS.values():
        return next(kind for kind, protocol in KINDS.items() if protocol is annotation), ""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _component_kind(args[0])
    for arg in args:
        kind, many = _component_kind(arg)
        if kind:
            if origin in (typing.Union, types.UnionType):
                return kind, many
            return kind, "dict" if isinstance(origin, type) and issubclass(origin, Mapping) else "list"
    return "", ""


def _field_description(annotation: Any) -> str:
    if typing.get_origin(annotation) is not Annotated:
        return ""
    return next((d for m in annotation.__metadata__ if isinstance(d := getattr(m, "description", None), str)), "")


def _text_of(annotation: Any) -> str:
    if typing.get_origin(annotation) is Annotated:
        base, *extra = typing.get_args(annotation)
        limits = [text for m in extra for text in _limits(m)]
        return _text_of(base) + (f" ({', '.join(limits)})" if limits else "")
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " | ".join(_text_of(a) for a in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(repr(a) for a in typing.get_args(annotation))
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    origin = typing.get_origin(annotation)
    if isinstance(origin, type):
        inner = ("..." if a is ... else _text_of(a) for a in typing.get_args(annotation))
        return f"{origin.__name__}[{', '.join(inner)}]"
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", str(annotation))


def _limits(metadata: Any) -> list[str]:
    parts = getattr(metadata, "metadata", None) or [metadata]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return [f"{sign} {getattr(p, key)}" for p in parts for key, sign in signs.items() if hasattr(p, key)]
