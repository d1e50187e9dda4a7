"""The constructor is the schema."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from fashreg.assembly import build, spec_of
from fashreg.component import checked_options, documentation_of, nearest, options_of
from fashreg.errors import ComponentError, OptionError
from fashreg.interfaces import Backbone, Loss


class Toy:
    """A toy.

    Source: A. Author, "A title", Venue 2020,
        https://example.org

    Args:
        margin: how far apart, in cosine.
        mode: what it does
            over two lines.
        embed_dim: D.
    """

    def __init__(
        self,
        margin: Annotated[float, Field(gt=0, le=1)] = 0.5,
        mode: Literal["a", "b"] = "a",
        sizes: tuple[int, ...] = (1, 2),
        *,
        embed_dim: int,
        seed: int = 0,
    ) -> None:
        if mode == "b" and margin == 1:
            raise ValueError("mode b wants a margin below 1")
        self.margin, self.mode, self.sizes, self.embed_dim, self.seed = margin, mode, sizes, embed_dim, seed


class Outer:
    """Takes others."""

    def __init__(self, one: Loss | None = None, many: list[Loss] | None = None, named: dict[str, Loss] | None = None):
        self.one, self.many, self.named = one, many, named


class Forgetful:
    """Does not keep its parameter."""

    def __init__(self, margin: float = 1.0) -> None:
        self.other = margin


@pytest.fixture
def toy_plugin(fake_plugin, monkeypatch):
    fake_plugin("fashreg-toy", {"fashreg.loss": {n.__name__.lower(): f"{__name__}:{n.__name__}" for n in (Toy, Outer)}})


def test_options_carry_types_defaults_limits_and_meaning() -> None:
    options = {o.name: o for o in options_of(Toy)}
    assert options["margin"].type_text == "float (> 0, <= 1)"
    assert options["mode"].type_text == "'a' | 'b'"
    assert options["mode"].meaning == "what it does over two lines."
    assert options["embed_dim"].fact
    assert not options["embed_dim"].required
    assert [o.component for o in options_of(Outer)] == ["loss"] * 3
    assert [o.many for o in options_of(Outer)] == ["", "list", "dict"]


def test_the_source_is_read_from_the_docstring() -> None:
    assert documentation_of(Toy).sources == ('A. Author, "A title", Venue 2020, https://example.org',)
    assert documentation_of(Toy).summary == "A toy."


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(OptionError, match=r'loss "toy" has no option .margn.; did you mean .margin.') as caught:
        checked_options(Toy, {"margn": 1}, where='loss "toy"')
    assert caught.value.field == "margn"


@pytest.mark.parametrize("bad", [{"margin": 0}, {"margin": 1.5}, {"mode": "c"}, {"sizes": "x"}, {"margin": "much"}])
def test_values_outside_the_annotation_are_refused_with_what_was_given(bad) -> None:
    with pytest.raises(OptionError, match="got"):
        checked_options(Toy, bad, where="x")


@pytest.mark.parametrize(
    "source",
    [
        "class X:\n    def __init__(self, *args: int): pass",
        "class X:\n    def __init__(self, **kwargs: int): pass",
        "class X:\n    def __init__(self, plain): pass",
    ],
)
def test_a_constructor_that_hides_its_options_is_not_a_schema(source) -> None:
    space: dict[str, type] = {}
    exec(source, space)
    with pytest.raises(OptionError, match="cannot be a schema"):
        options_of(space["X"])


def test_facts_fill_what_is_left_out_and_nothing_else() -> None:
    toy = build("loss", Toy, facts={"embed_dim": 8, "seed": 3, "num_classes": 9})
    assert (toy.embed_dim, toy.seed) == (8, 3)
    toy = build("loss", Toy, facts={"embed_dim": 8}, embed_dim=4)
    assert toy.embed_dim == 4


def test_a_missing_fact_is_named_with_its_meaning() -> None:
    with pytest.raises(OptionError, match="needs embed_dim"):
        build("loss", Toy)


def test_a_constructors_own_refusal_names_the_component() -> None:
    with pytest.raises(OptionError, match="mode b wants a margin below 1"):
        build("loss", Toy, mode="b", margin=1, embed_dim=2)


def test_build_of_spec_of_is_equal(toy_plugin) -> None:
    toy = build("loss", "toy", margin=0.25, sizes=[4, 5], embed_dim=8)
    spec = spec_of(toy)
    assert spec["plugin"] == "fashreg-toy"
    assert vars(build("loss", spec)) == vars(toy)
    assert spec_of(build("loss", spec)) == spec


def test_components_nest_and_round_trip(toy_plugin) -> None:
    outer = build(
        "loss",
        {"name": "outer", "one": "toy", "many": [{"name": "toy", "margin": 0.1}], "named": {"x": {"name": "toy"}}},
        facts={"embed_dim": 8},
    )
    assert outer.one.embed_dim == 8
    assert outer.many[0].margin == 0.1
    again = build("loss", spec_of(outer))
    assert spec_of(again) == spec_of(outer)


class Fetching(Toy):
    """A toy that can be told to fetch something."""

    reaches = {"source": None}  # noqa: RUF012

    def __init__(self, source: str | None = None, weights: str | None = None, inner: Backbone | None = None) -> None:
        self.source, self.weights, self.inner = source, weights, inner


def test_a_spec_for_a_folder_reaches_nowhere_at_any_depth_and_keeps_only_a_word_on_the_weights() -> None:
    made = Fetching("far", "hub", Fetching("farther", "hub", Fetching("farthest", "hub")))
    config = spec_of(made, registered=False)["config"]
    assert (config["source"], config["inner"]["config"]["source"]) == ("far", "farther")
    told = spec_of(made, registered=False, reaching=False)["config"]
    assert (told["source"], told["weights"]) == (None, "hub")
    for _ in range(2):
        told = told["inner"]["config"]
        assert (told["source"], told["weights"]) == (None, None)
    assert made.inner.source == "farther"


def test_a_ready_object_is_taken_as_it_is_and_takes_no_options() -> None:
    toy = Toy(embed_dim=3)
    assert build("loss", toy) is toy
    with pytest.raises(OptionError, match="already made"):
        build("loss", toy, margin=1)


def test_an_unregistered_class_has_no_spec_unless_asked() -> None:
    with pytest.raises(ComponentError, match="entry point"):
        spec_of(Toy(embed_dim=3))
    assert spec_of(Toy(embed_dim=3), registered=False)["name"] == "unregistered:Toy"


def test_a_component_that_forgets_a_parameter_is_told_to_keep_it() -> None:
    with pytest.raises(ComponentError, match=r"self\.margin = margin"):
        spec_of(Forgetful(), registered=False)


def test_nearest_ignores_case_and_underscores() -> None:
    assert nearest("Multi_Similarity", ["multi-similarity", "triplet"]) == ("multi-similarity",)
