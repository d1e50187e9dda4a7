"""Every registered component of core, plugins and contrib keeps its contract, with its default config.

A component that needs the network by default is built from what needs none; that is the only option given.
"""

from __future__ import annotations

from typing import Any

import pytest

from fashreg import registry
from fashreg.assembly import build, spec_of
from fashreg.component import documentation_of, options_of
from fashreg.interfaces import KINDS
from fashreg.testing.backbone import BackboneContract
from fashreg.testing.backbone_texts import TextBackboneContract
from fashreg.testing.evaluator import EvaluatorContract
from fashreg.testing.evaluator_words import CaptionsContract, ClassesContract
from fashreg.testing.head import HeadContract
from fashreg.testing.index import IndexContract
from fashreg.testing.learner import LearnerContract
from fashreg.testing.loss import LossContract
from fashreg.testing.memory import MemoryContract
from fashreg.testing.reranker import RerankerContract
from fashreg.testing.sampler import SamplerContract
from fashreg.testing.sampler_seeing import SeeingContract
from fashreg.training.session import Session

SMALL = {"name": "timm", "model": "resnet10t", "weights": None, "image_size": 48}
OFFLINE: dict[str, dict[str, Any]] = {
    "fashreg:timm": {"model": "resnet10t", "weights": None, "image_size": 48},
    "fashreg:truncated": {"backbone": SMALL, "keep": 3},
    "fashreg-mclfir:own-network": {
        "backbone": SMALL,
        "head": {"name": "attribute-attention", "out_dim": 8, "in_dim": 512},
        "in_dim": 3,
    },
    "fashreg-lite0:lite0": {"image_size": 48},
    "fashreg-famevil:fame-vil": {"model": "tiny", "weights": None},
}
FACTS: dict[str, dict[str, Any]] = {
    "head": {"in_dim": 12, "seed": 0},
    "loss": {"embed_dim": 8, "num_classes": 5, "seed": 0},
    "memory": {"capacity": 7, "embed_dim": 4, "seed": 0},
    "index": {"embed_dim": 8},
    "sampler": {"labels": [i // 3 for i in range(24)], "batch_size": 8, "seed": 0, "rank": 0, "world_size": 1},
    "backbone": {"seed": 0},
}


def names(kind: str) -> list[str]:
    return [entry.qualified for entry in registry.entries(kind) if not entry.problem]


def made(kind: str, name: str, **facts: Any) -> Any:
    options = OFFLINE.get(name, {})
    known = {option.name for option in options_of(registry.find_class(kind, name))}
    given = {**FACTS.get(kind, {}), **facts, **options}
    return build(kind, name, **{k: v for k, v in given.items() if k in known})


class TestBackbones(BackboneContract):
    @pytest.fixture(params=names("backbone"))
    def backbone(self, request: pytest.FixtureRequest) -> Any:
        return made("backbone", request.param)


class TestBackbonesThatKnowTexts(TextBackboneContract):
    KINDS = ("cross-modal", "composed", "classification", "captioning")

    @pytest.fixture(
        params=[name for name in names("backbone") if hasattr(registry.find_class("backbone", name), "encode_text")]
    )
    def backbone(self, request: pytest.FixtureRequest) -> Any:
        return made("backbone", request.param, kinds={kind: kind for kind in self.KINDS})


class TestHeads(HeadContract):
    @pytest.fixture(params=names("head"))
    def head(self, request: pytest.FixtureRequest) -> Any:
        return made("head", request.param)


class TestLosses(LossContract):
    @pytest.fixture(params=names("loss"))
    def loss(self, request: pytest.FixtureRequest) -> Any:
        return made("loss", request.param)


class TestMemories(MemoryContract):
    @pytest.fixture(params=names("memory"))
    def memory(self, request: pytest.FixtureRequest) -> Any:
        return made("memory", request.param)


class TestSamplers(SamplerContract):
    @pytest.fixture(params=names("sampler"))
    def make(self, request: pytest.FixtureRequest) -> Any:
        return lambda **facts: build("sampler", request.param, facts=facts)


class TestSamplersThatLookAtProxies(SeeingContract):
    @pytest.fixture(params=[name for name in names("sampler") if hasattr(registry.find_class("sampler", name), "see")])
    def make(self, request: pytest.FixtureRequest) -> Any:
        return lambda **facts: build("sampler", request.param, facts=facts)


def judging(*kinds: str) -> list[str]:
    """Names of the evaluators that judge these."""
    return [
        name for name in names("evaluator")
        if getattr(registry.find_class("evaluator", name), "judges", "pictures") in kinds
    ]  # fmt: skip


class TestEvaluators(EvaluatorContract):
    @pytest.fixture(params=judging("pictures", "cross-modal", "composed"))
    def evaluator(self, request: pytest.FixtureRequest) -> Any:
        return made("evaluator", request.param)


class TestClassEvaluators(ClassesContract):
    @pytest.fixture(params=judging("classes"))
    def evaluator(self, request: pytest.FixtureRequest) -> Any:
        return made("evaluator", request.param)


class TestCaptionEvaluators(CaptionsContract):
    @pytest.fixture(params=judging("captions"))
    def evaluator(self, request: pytest.FixtureRequest) -> Any:
        return made("evaluator", request.param)


class TestIndexes(IndexContract):
    @pytest.fixture(params=names("index"))
    def index(self, request: pytest.FixtureRequest) -> Any:
        return made("index", request.param)


class TestRerankers(RerankerContract):
    @pytest.fixture(params=names("reranker"))
    def reranker(self, request: pytest.FixtureRequest) -> Any:
        return made("reranker", request.param)


class TestLearners(LearnerContract):
    #: Those that learn several experiences as one, where rows in a memory would be of different tables.
    WITHOUT_MEMORY = ("fashreg-mclfir:retrain",)

    #: Those with a loss of their own learn what no table of labels holds: their plugins hold them to the contract.
    OTHERS = tuple(n for n in names("learner") if not getattr(registry.find_class("learner", n), "own_loss", False))

    @pytest.fixture(params=OTHERS)
    def make_learner(self, request: pytest.FixtureRequest) -> Any:
        self.name = request.param
        return lambda: made("learner", request.param)

    def session(self, **parts: Any) -> Session:
        return super().session(**({"memory": None} if self.name in self.WITHOUT_MEMORY else {}), **parts)


EVERY = [(entry.kind, entry.qualified) for entry in registry.entries() if not entry.problem]


def test_every_kind_has_a_registered_component() -> None:
    assert {kind for kind, _ in EVERY} == set(KINDS)


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{k}-{n}" for k, n in EVERY])
def test_build_of_spec_of_is_equal_for_every_component(kind: str, name: str) -> None:
    component = made(kind, name)
    spec = spec_of(component)
    again = build(kind, spec, facts=FACTS.get(kind, {}))
    assert spec_of(again) == spec
    assert type(again) is type(component)


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{k}-{n}" for k, n in EVERY])
def test_every_component_documents_itself(kind: str, name: str) -> None:
    cls = registry.find_class(kind, name)
    said = documentation_of(cls)
    assert said.summary.endswith(".")
    assert kind in {"index", "evaluator", "sampler", "head", "backbone"} or said.sources, "no Source: in the docstring"
    for option in options_of(cls):
        assert option.meaning, f"{name}: option {option.name} has no meaning under Args:"
