"""Texts, pictures with texts, classes and captions: what is asked, which task answers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fashreg.config_trainer import TrainerConfig
from fashreg.data.loader import TableDataset
from fashreg.data.table import read_table
from fashreg.data.transforms import evaluation_transform
from fashreg.encoder import Encoder
from fashreg.encoder.fingerprint import steps_fingerprint
from fashreg.errors import ModelError, RecipeError
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.tiny_run import tiny_encoder, tiny_encoder_of_tasks
from fashreg.testing.tiny_texts import CLASSES, TinyTextBackbone, TinyTextHead, tiny_text_encoder
from fashreg.training.features import frozen_features

TEXTS = ["a red dress", "blue", "", "trousers, wide", "a red dress"]


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def encoder() -> Encoder:
    return tiny_text_encoder()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    return paths


# ---- texts ----


def test_texts_become_rows_in_their_order_whatever_the_batches(encoder: Encoder) -> None:
    found = encoder.embed(texts=TEXTS)
    assert (found.shape, found.dtype) == ((5, encoder.embed_dim), torch.float32)
    assert torch.equal(found[0], found[4])
    assert not torch.allclose(found[0], found[1])
    for size in (1, 2):
        assert torch.allclose(encoder.embed(texts=TEXTS, batch_size=size), found, atol=1e-6)
    assert torch.allclose(encoder.embed(texts="blue")[0], found[1], atol=1e-6)
    assert torch.equal(encoder.embed(texts=TEXTS, task="cross-modal"), found)
    assert encoder.embed(texts=[]).shape == (0, encoder.embed_dim)


def test_texts_and_pictures_of_one_task_share_a_space_and_each_task_has_its_own(encoder: Encoder) -> None:
    pictures = encoder.embed(images(), task="cross-modal")
    assert pictures.shape == encoder.embed(texts=TEXTS).shape
    assert not torch.allclose(pictures, encoder.embed(images(), task="composed"))


def test_a_gradient_passes_through_texts_and_through_pictures_with_texts(encoder: Encoder) -> None:
    encoder.forward_text(TEXTS).sum().backward()
    assert encoder.backbone.words.weight.grad.abs().sum() > 0
    assert encoder.backbone.stem.weight.grad is None
    encoder.forward_composed(images(), TEXTS)[:, 0].sum().backward()
    assert encoder.backbone.stem.weight.grad.abs().sum() > 0
    assert encoder.backbone.adapters["task_composed"]["text"].weight.grad.abs().sum() > 0
    assert encoder.backbone.adapters["task_classification"]["text"].weight.grad is None


def test_embedding_is_the_forward_pass_in_evaluation_without_gradient(encoder: Encoder) -> None:
    encoder.train()
    vectors = encoder.embed(texts=TEXTS)
    assert encoder.training
    assert not vectors.requires_grad
    encoder.eval()
    assert torch.equal(vectors, encoder.forward_text(TEXTS).detach())
    assert torch.equal(encoder.embed(images(), texts=TEXTS), encoder.forward_composed(images(), TEXTS).detach())


# ---- a picture and a text ----


def test_one_text_is_for_all_pictures_and_one_picture_for_all_texts(encoder: Encoder, pictures: list[Path]) -> None:
    told = encoder.embed(pictures, texts="but in red")
    assert told.shape == (3, encoder.embed_dim)
    assert torch.equal(told, encoder.embed(pictures, texts=["but in red"] * 3))
    for one in (pictures[1], [pictures[1]], Image.open(pictures[1])):
        spread = encoder.embed(one, texts=TEXTS, batch_size=2)
        assert torch.allclose(spread, encoder.embed([pictures[1]] * 5, texts=TEXTS), atol=1e-6)
    assert torch.allclose(encoder.embed(pictures[1], texts="but in red")[0], told[1], atol=1e-6)


def test_both_the_picture_and_the_text_count(encoder: Encoder) -> None:
    one = encoder.embed(images(2), texts=["red", "red"])
    assert not torch.allclose(one[0], one[1])
    assert not torch.allclose(one, encoder.embed(images(2), texts=["blue", "blue"]))


def test_nothing_asked_gives_nothing(encoder: Encoder) -> None:
    assert encoder.embed([], texts=[]).shape == (0, encoder.embed_dim)
    assert encoder.embed([], texts="red").shape == (0, encoder.embed_dim)
    assert encoder.embed(images(1), texts=[]).shape == (0, encoder.embed_dim)


# ---- words for answers ----


def test_classes_come_with_shares_best_first(encoder: Encoder) -> None:
    found = encoder.classify(images(), k=2)
    logits = encoder.logits(images())
    assert logits.shape == (5, len(CLASSES))
    for row, best in zip(logits.softmax(1), found, strict=True):
        assert [name for name, _ in best] == [CLASSES[i] for i in row.argsort(descending=True)[:2]]
        assert [share for _, share in best] == pytest.approx(sorted(row.tolist(), reverse=True)[:2])
    everything = encoder.classify(images(1), k=99)[0]
    assert sum(share for _, share in everything) == pytest.approx(1)
    assert encoder.classify([], k=2) == []


def test_a_text_beside_the_picture_changes_its_classes_and_no_text_is_an_empty_one(encoder: Encoder) -> None:
    told = encoder.logits(images(), texts=TEXTS)
    assert not torch.allclose(told, encoder.logits(images()))
    assert torch.equal(encoder.logits(images()), encoder.logits(images(), texts=[""] * 5))
    logits = encoder.head.classify(encoder.features(images(), TEXTS, "classification"), "classification")
    assert torch.equal(told, logits.detach())


def test_a_backbone_that_only_sees_may_name_classes_too() -> None:
    backbone = tiny_encoder().backbone
    sees = Encoder(backbone, TinyTextHead(backbone.out_dim, {"kind": "classification"}, {"kind": ["a", "b"]}))
    picture = torch.randn(2, 3, 32, 32)
    assert torch.allclose(sees.logits(picture, task="kind"), sees.head.classify(sees.eval().backbone(picture), "kind"))


def test_captions_are_written_for_each_picture_alone(encoder: Encoder, pictures: list[Path]) -> None:
    written = encoder.caption(images())
    assert len(written) == 5
    assert all(isinstance(text, str) for text in written)
    assert written == [encoder.caption(image[None])[0] for image in images()] == encoder.caption(images(), batch_size=2)
    assert max(map(len, encoder.caption(images(), length=2))) == 2
    assert encoder.caption(images(), beams=2) != written
    assert len(encoder.caption(pictures)) == 3
    assert encoder.caption([]) == []


# ---- which task answers ----


def test_named_tasks_answer_where_several_could() -> None:
    encoder = tiny_text_encoder({"match": "cross-modal", "find": "cross-modal", "edit": "composed"})
    assert not torch.allclose(encoder.embed(texts="red", task="match"), encoder.embed(texts="red", task="find"))
    with pytest.raises(ModelError, match="be asked with a text alone: say which, task match or find"):
        encoder.embed(texts="red")
    assert torch.equal(encoder.embed(images(), texts="red"), encoder.embed(images(), texts="red", task="edit"))


def test_pictures_are_embedded_by_any_task_and_by_the_only_one_that_finds_them() -> None:
    two = tiny_text_encoder({"match": "cross-modal", "sort": "classification"})
    assert torch.equal(two.embed(images()), two.embed(images(), task="match"))
    assert not torch.allclose(two.embed(images(), task="sort"), two.embed(images()))
    assert list(two.embed_tasks(images())) == ["match"]
    one = tiny_text_encoder({"sort": "classification"})
    assert torch.equal(one.embed(images()), one.embed(images(), task="sort"))


def test_all_tasks_are_embedded_in_one_reading_to_the_bit(encoder: Encoder, pictures: list[Path]) -> None:
    found = encoder.embed_tasks(pictures)
    assert list(found) == ["cross-modal", "composed"]
    for task, vectors in encoder.embed_tasks(pictures, encoder.tasks).items():
        assert torch.equal(vectors, encoder.embed(pictures, task=task))
    half_way = encoder.until(images(), 1, "composed")
    assert torch.equal(encoder.embed(half_way, stage=1, task="composed"), encoder.embed(images(), task="composed"))


def test_without_tasks_texts_and_pictures_go_through_the_one_head() -> None:
    backbone = TinyTextBackbone()
    encoder = Encoder(backbone, ProjectionHead(4, in_dim=backbone.out_dim))
    assert encoder.tasks == ()
    assert encoder.embed(texts=TEXTS).shape == (5, 4)
    assert encoder.embed(images(), texts=TEXTS).shape == (5, 4)


REFUSED: list[tuple[Callable[[Encoder], Any], str]] = [
    (lambda e: e.embed(images()), "several tasks of this model can .*: say which, task cross-modal or composed"),
    (
        lambda e: e.embed(texts="a", task="composed"),
        "task 'composed' cannot be asked with a text alone; take the task cro",
    ),
    (
        lambda e: e.embed(images(), texts="a", task="cross-modal"),
        "with a picture and a text together; take the task comp",
    ),
    (lambda e: e.embed(texts="a", task="colour"), "no task 'colour'; its tasks are cross-modal, composed"),
    (lambda e: e.embed(images(5), texts=["a", "b"]), "5 pictures and 2 texts: give as many"),
    (lambda e: e.embed(texts=["a", None]), r"texts\[1\] is a NoneType"),
    (lambda e: e.embed(), "nothing to embed: give pictures"),
    (lambda e: e.embed(texts="a", stage=1), "stage says what a tensor of pictures holds"),
    (lambda e: e.embed(texts="a", batch_size=0), "batch_size must be at least 1, got 0"),
    (lambda e: e.classify(images(), task="captioning"), "task 'captioning' cannot name classes; take the task classi"),
    (lambda e: e.classify(images(), k=0), "k must be at least 1, got 0"),
    (lambda e: e.caption(images(), beams=0), "beams must be at least 1, got 0"),
    (lambda e: e.caption(images(), length=0), "length must be at least 1, got 0"),
    (lambda e: e.caption(images(), task="match"), "no task 'match'"),
    (lambda e: e.features(), "features of what"),
]


@pytest.mark.parametrize(("ask", "says"), REFUSED, ids=[says[:30] for _, says in REFUSED])
def test_what_cannot_be_answered_is_refused(encoder: Encoder, ask: Callable[[Encoder], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ask(encoder)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda e: e.embed(texts="red"), "cannot be asked with a text alone .backbone TimmBackbone, image; head Proj"),
        (lambda e: e.embed(torch.zeros(1, 3, 32, 32), texts="red"), "cannot be asked with a picture and a text"),
        (lambda e: e.classify(torch.zeros(1, 3, 32, 32)), "cannot name classes"),
        (lambda e: e.caption(torch.zeros(1, 3, 32, 32)), "cannot write captions"),
    ],
)
def test_a_model_of_pictures_says_what_it_is_and_what_to_take(ask: Callable[[Encoder], Any], says: str) -> None:
    with pytest.raises(ModelError, match=f"{says}(.|\n)*fame-vil"):
        ask(tiny_encoder())


def test_a_model_without_such_a_task_says_how_to_train_one() -> None:
    encoder = tiny_text_encoder({"match": "cross-modal"})
    with pytest.raises(ModelError, match=r"its tasks are match \(cross-modal\).*tasks.NAME.kind=composed"):
        encoder.embed(images(), texts="red")
    with pytest.raises(ModelError, match=r"task 'match' \(cross-modal\) cannot write captions; no task of this model"):
        encoder.caption(images(), task="match")
    untold = tiny_text_encoder({"sort": "classification"})
    untold.head.classes.clear()
    with pytest.raises(ModelError, match="told no classes of the task 'sort'"):
        untold.classify(images())


# ---- fingerprints ----


def moved(module: nn.Module) -> None:
    with torch.no_grad():
        next(module.parameters()).add_(1e-3)


def test_a_tasks_fingerprint_stays_when_other_tasks_of_the_trunk_come_and_learn() -> None:
    encoder = tiny_text_encoder({"match": "cross-modal"})
    whole, match = encoder.fingerprint(), encoder.fingerprint("match")
    for part in (encoder.backbone, encoder.head):
        part.add_task("edit", "composed")
    edit = encoder.fingerprint("edit")
    assert encoder.fingerprint() != whole
    assert encoder.fingerprint("match") == match != edit
    for module in (encoder.backbone.adapters["task_edit"], encoder.backbone.across):
        moved(module)
        assert encoder.fingerprint("match") == match
        assert encoder.fingerprint("edit") != edit
        edit = encoder.fingerprint("edit")
    moved(encoder.backbone.adapters["task_match"])
    assert encoder.fingerprint("edit") == edit
    assert encoder.fingerprint("match") != match
    moved(encoder.backbone.words)
    assert encoder.fingerprint("edit") != edit


def test_the_name_of_a_task_is_not_in_its_fingerprint_and_its_kind_is() -> None:
    def of(name: str, kind: str) -> str:
        return tiny_text_encoder({name: kind}).fingerprint(name)

    assert of("match", "cross-modal") == of("find", "cross-modal")
    assert of("match", "cross-modal") != of("match", "composed")


# ---- what is kept ----


def test_what_depends_on_the_task_is_not_kept_for_all(encoder: Encoder, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\n" + "\n".join(f"{p.name},a" for p in pictures))
    dataset = TableDataset(read_table(tmp_path / "t.csv"), evaluation_transform(encoder.input_spec))
    trainer = TrainerConfig(freeze="backbone", cache="features")
    with pytest.raises(RecipeError, match=r"depends on the task: --set trainer\.cache=none"):
        frozen_features(encoder, dataset, 1, trainer, views=1, preparation={})


def test_fingerprints_of_steps_and_of_heads_over_pictures_are_as_they_were() -> None:
    encoder = tiny_encoder_of_tasks("colour")
    assert len(steps_fingerprint(encoder.backbone, "pooled", 2)) == 64
    assert encoder.fingerprint("colour") == tiny_encoder_of_tasks("colour").fingerprint("colour")
