"""The recipe: strict, near names suggested, equal from file, dict and Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fashreg.assembly import check_recipe, components_of
from fashreg.config import ComponentConfig, Recipe, apply_override, parse_recipe, read_data, read_recipe
from fashreg.errors import RecipeError, UnknownComponentError
from fashreg.plugins import shipped_recipes

SMALL = {"data": {"table": "t.csv"}, "backbone": "timm"}


def test_a_component_is_written_as_a_name_or_with_its_options_in_three_ways() -> None:
    plain = ComponentConfig.model_validate("xbm")
    flat = ComponentConfig.model_validate({"name": "xbm", "capacity": 4})
    nested = ComponentConfig.model_validate({"name": "xbm", "args": {"capacity": 4}})
    typed = ComponentConfig.model_validate({"type": "xbm", "capacity": 4})
    assert plain.options == {}
    assert flat == nested == typed
    assert flat.model_dump() == {"name": "xbm", "capacity": 4}


def test_file_mapping_and_python_forms_are_equal(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(SMALL))
    (tmp_path / "r.json").write_text(json.dumps(SMALL))
    from_python = Recipe(data={"table": "t.csv"}, backbone="timm")
    assert read_recipe(tmp_path / "r.yaml") == read_recipe(tmp_path / "r.json") == read_recipe(SMALL) == from_python


def test_a_resolved_recipe_reads_back_equal() -> None:
    recipe = read_recipe(SMALL, ["loss.alpha=1.5", "memory=xbm", "trainer.epochs=3"])
    assert read_recipe(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.epohcs=3", "trainer.epohcs: no such field; did you mean 'epochs'"),
        ("los=contrastive", "los: no such field; did you mean 'loss'"),
        ("data.tabel=x", "did you mean 'table'"),
        ("data.augment.flipp=0.5", "did you mean 'flip'"),
        ("trainer.lr=fast", "trainer.lr: .*number.*fast"),
        ("trainer.epochs=0", "greater than 0"),
        ("evaluators.3.ks=[1]", "not a position in a list of 1"),
        ("trainer.lr.x=1", "has no fields"),
        ("trainer.lr", "field.name=value"),
        ("=3", "field.name=value"),
        ("seed=-1", "seed"),
    ],
)
def test_a_wrong_override_names_the_field_and_the_way_out(override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_recipe({**SMALL, "trainer": {"lr": 0.1}}, [override])


def test_an_override_reaches_into_default_components_and_lists() -> None:
    recipe = read_recipe(SMALL, ["loss.alpha=3", "evaluators.0.ks=[1, 5]", "memory.name=xbm", "trainer.lr=1e-4"])
    assert recipe.loss.model_dump() == {"name": "multi-similarity", "alpha": 3}
    assert recipe.evaluators[0].options == {"ks": [1, 5]}
    assert recipe.memory == ComponentConfig(name="xbm")
    assert recipe.trainer.lr == 1e-4


def test_naming_another_component_drops_the_options_of_the_first() -> None:
    given = {**SMALL, "loss": {"name": "multi-similarity", "alpha": 3}}
    assert read_recipe(given, ["loss=triplet"]).loss.options == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b", "must hold a mapping"),
        ("seed: 1\nseed: 2", "stands twice"),
        ("data: [", "not valid YAML"),
        ("data: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: &x [1]\nb: *y", "not valid YAML"),
    ],
)
def test_a_recipe_of_the_wrong_form_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_recipe(text, name="r.yaml")


def test_numbers_in_scientific_form_are_numbers() -> None:
    assert parse_recipe("a: 1e-4\nb: 3E5\nc: 1.5e+3\nd: e5", name="r") == {"a": 1e-4, "b": 3e5, "c": 1500.0, "d": "e5"}


def test_a_missing_recipe_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="did you mean 'quick'"):
        read_recipe("quik")
    with pytest.raises(RecipeError, match="is a folder"):
        read_recipe(tmp_path)


def test_paths_beside_the_recipe_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "t.csv").write_text("image,label\n")
    (folder / "r.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.chdir(tmp_path)
    assert read_recipe("shop/r.yaml").data.table == str(folder / "t.csv")
    assert read_recipe("shop/r.yaml", ["data.table=other.csv"]).data.table == "other.csv"


def test_another_table_is_read_like_the_first_but_without_its_root() -> None:
    like = read_data("a.csv", ["label=style", "root=pictures"])
    config = read_data("b.csv", ["image=path"], like=like)
    assert (config.table, config.label, config.image, config.root) == ("b.csv", "style", "path", None)
    with pytest.raises(RecipeError, match="did you mean 'label'"):
        read_data("b.csv", ["lable=x"])


def test_options_of_components_are_checked_before_anything_is_built() -> None:
    with pytest.raises(RecipeError, match="did you mean 'alpha'") as caught:
        check_recipe(read_recipe(SMALL, ["loss.alhpa=3"]))
    assert caught.value.field == "loss.alhpa"
    with pytest.raises(UnknownComponentError, match="did you mean 'xbm'"):
        check_recipe(read_recipe(SMALL, ["memory=xbn"]))


def test_components_within_components_are_checked_before_anything_is_built_too() -> None:
    with pytest.raises(RecipeError, match="did you mean 'batch_norm'") as caught:
        check_recipe(read_recipe(SMALL, ["head={name: multi-task, head: {name: projection, batch_nrom: true}}"]))
    assert caught.value.field == "head.head.batch_nrom"
    with pytest.raises(UnknownComponentError, match="did you mean 'projection'"):
        check_recipe(read_recipe(SMALL, ["head={name: multi-task, head: projektion}"]))
    check_recipe(read_recipe(SMALL, ["head={name: multi-task, head: {name: projection, batch_norm: true}}"]))


def test_every_shipped_recipe_is_valid_down_to_the_options_and_says_what_it_is_for() -> None:
    names = [r.name for r in shipped_recipes()]
    assert {"quick", "fashion-products", "atelier"} <= set(names)
    for shipped in shipped_recipes():
        recipe = read_recipe(shipped.path)
        check_recipe(recipe)
        assert len(recipe.description) > 20
        assert read_recipe(yaml.safe_load(recipe.to_yaml())) == recipe


def test_the_schema_describes_every_field() -> None:
    schema = Recipe.model_json_schema()
    for name, model in {"Recipe": schema, **schema["$defs"]}.items():
        for field, facts in model["properties"].items():
            assert facts.get("description"), f"{name}.{field} has no description"


def test_components_of_a_recipe_are_all_kinds_it_names() -> None:
    fields = [field for field, _, _ in components_of(read_recipe(SMALL))]
    assert fields == ["backbone", "head", "loss", "sampler", "learner", "index", "evaluators.0"]


words = st.text("abcxyz_", min_size=1, max_size=6)


@given(st.lists(words, min_size=1, max_size=4), st.one_of(st.integers(), st.booleans(), words, st.none()))
def test_an_override_sets_exactly_what_it_names(path: list[str], value: object) -> None:
    document: dict = {}
    apply_override(document, f"{'.'.join(path)}={json.dumps(value)}")
    here = document
    for part in path[:-1]:
        assert list(here) == [part]
        here = here[part]
    assert here == {path[-1]: value}
