"""Captions written with the CLIP's own table of tokens: stored once, a task's own turn, everything else as ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from famevil_run import KINDS as RUN_KINDS
from famevil_run import Wardrobe, batch_of, learnt, small_session
from famevil_run import small_encoder as run_encoder
from famevil_small import KINDS, move, small_backbone, small_head
from fashreg_famevil.backbone import FameViLBackbone
from fashreg_famevil.head import FameViLHead
from fashreg_famevil.learning import learning_groups, resting
from fashreg_famevil.multi_task import MultiTaskLearner
from fashreg_famevil.objectives import answers_of
from fashreg_famevil.teachers import Teachers
from fashreg_famevil.writer import Writer
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.backbone import BackboneContract
from fashreg.testing.backbone_texts import TextBackboneContract
from fashreg.testing.tiny_run import tiny_trainer


def tied(kinds: dict[str, str] | None = None, *, moved: bool = False) -> Encoder:
    backbone = small_backbone(kinds, moved=moved, writer="tied")
    head = FameViLHead(
        kinds=backbone.kinds,
        classes={"name": ["dress", "shirt", "skirt"]},
        in_dim=32,
        text_dim=backbone.text_dim,
        vocabulary=backbone.vocabulary,
    )
    if moved:
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(1))
    return Encoder(backbone, head).eval()


class TestTied(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone(KINDS, writer="tied")


class TestTextsOfTied(TextBackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone(KINDS, writer="tied")


def test_a_word_is_scored_by_its_row_of_the_table_after_the_tasks_own_turn() -> None:
    encoder, hidden = tied(moved=True), torch.randn(5, 48)
    trunk = encoder.backbone.trunk
    writer, table = trunk.writer_of("tell"), trunk.clip.token_embedding.weight
    wanted = writer.scale * (hidden @ writer.turn.weight.T) @ table.T + encoder.head.head_of("tell").bias
    assert torch.allclose(encoder.head.words(trunk.said(hidden, "tell"), "tell"), wanted, atol=1e-4)
    fresh = tied()
    rows = fresh.backbone.trunk.clip.token_embedding.weight
    plain = hidden @ rows.T / rows.norm(dim=1).square().mean().sqrt()
    assert torch.allclose(fresh.head.words(fresh.backbone.trunk.said(hidden, "tell")), plain, atol=1e-5)
    assert float(plain.detach().std()) == pytest.approx(1.0, abs=0.2)


def test_it_takes_a_square_and_a_number_for_each_token_and_the_table_is_stored_once(tmp_path: Path) -> None:
    from fashreg.strict_tensors import read_header

    count = [sum(p.numel() for p in e.parameters()) for e in (tied({"tell": "captioning"}), own_writer())]
    assert count[1] - count[0] == 48 * 1024 - 48 * 48 - 1  # W_lm (V, d) against W (d, d) and s; both have b
    encoder = tied(moved=True)
    folder = save_encoder(encoder, tmp_path / "model")
    shapes = [record.shape for record in read_header(folder / "model.safetensors").values()]
    assert shapes.count((1024, 48)) == 1
    pictures = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    again = load_encoder(folder)
    for beams in (1, 3):
        assert again.caption(pictures, beams=beams, length=6) == encoder.caption(pictures, beams=beams, length=6)
    assert again.fingerprint() == encoder.fingerprint()


def own_writer() -> Encoder:
    return Encoder(small_backbone({"tell": "captioning"}), small_head({"tell": "captioning"}))


def test_at_the_papers_size_all_four_tasks_are_159_mb_instead_of_259() -> None:
    with torch.device("meta"):
        backbone = FameViLBackbone("ViT-B-16-quickgelu", None, kinds=KINDS, writer="tied")
        head = FameViLHead(
            kinds=KINDS,
            classes={"name": [f"class {number}" for number in range(121)]},
            in_dim=512,
            text_dim=backbone.text_dim,
            vocabulary=backbone.vocabulary,
        )
    added = sum(p.numel() for part in (backbone, head) for p in part.parameters())
    added -= sum(p.numel() for p in backbone.trunk.clip.parameters())
    assert (
        added == 64_682_483 - 25_346_304 + 512 * 512 + 1 + 49_408
    )  # added to a CLIP by four tasks, see the paper's count
    assert round(4 * added / 1e6) == 159


def test_the_gradient_reaches_the_turn_and_the_table_unless_the_clip_is_frozen() -> None:
    for clip in ("trained", "frozen"):
        encoder = run_encoder({"say": "captioning"}, writer="tied")
        trunk = encoder.backbone.trunk
        trunk.clip.requires_grad_(clip == "trained")
        answers = answers_of(encoder, batch_of("say", kinds={"say": "captioning"}), "say")
        assert answers.logits is not None
        assert answers.logits.shape[1] == 600
        nn.functional.cross_entropy(answers.logits, answers.targets).backward()
        assert trunk.writer_of("say").turn.weight.grad.any()
        assert encoder.head.head_of("say").bias.grad.any()
        table = trunk.clip.token_embedding.weight
        seen = None if table.grad is None else int(table.grad.any(dim=1).sum())
        assert seen == (600 if clip == "trained" else None)  # every token is scored, so every row learns


def test_each_weight_learns_once_and_a_resting_task_keeps_its_turn() -> None:
    encoder = run_encoder(writer="tied")
    groups = learning_groups(encoder, tiny_trainer(weight_decay=0.1), 0.5)
    places = [id(p) for group in groups for p in group["params"]]
    assert len(places) == len(set(places)) == sum(p.requires_grad for p in encoder.parameters())
    turn = encoder.backbone.trunk.writer_of("say")
    assert any(module is turn for module in resting(encoder, ["match"], clip=True, across=True))
    assert not any(module is turn for module in resting(encoder, ["say"], clip=True, across=True))


def test_it_learns_and_a_task_that_is_added_leaves_it_to_the_bit() -> None:
    kinds = {"say": "captioning"}
    session = small_session(kinds=kinds, encoder=run_encoder(kinds, writer="tied"), trainer={"epochs": 20, "lr": 3e-3})
    batch = batch_of("say", 16, kinds)

    def loss() -> float:
        with torch.no_grad():
            answers = answers_of(session.encoder, batch, "say")
            return float(nn.functional.cross_entropy(answers.logits, answers.targets))  # type: ignore[arg-type]

    first = loss()
    learnt(session, MultiTaskLearner(clip="frozen"), kinds)
    assert loss() < 0.6 * first
    encoder, pictures = session.encoder.eval(), Wardrobe(None, "say", "captioning").images
    before = encoder.caption(pictures), encoder.fingerprint("say")
    encoder.backbone.add_task("tell again", "captioning")
    encoder.head.add_task("tell again", "captioning")
    assert (encoder.caption(pictures, task="say"), encoder.fingerprint("say")) == before
    assert encoder.caption(pictures, task="tell again", length=3)
    with torch.no_grad():
        encoder.backbone.trunk.writer_of("tell again").turn.weight.zero_()
    assert encoder.caption(pictures, task="say") == before[0]


def test_a_teacher_with_a_matrix_of_its_own_teaches_one_without_and_back() -> None:
    for student, teacher in (("tied", "own"), ("own", "tied")):
        learner = MultiTaskLearner()
        session = small_session(encoder=run_encoder(writer=student))
        learner.bind(session)
        learner.tasks = tuple(RUN_KINDS)
        models = {"say": run_encoder({"say": "captioning"}, seed=1, writer=teacher)}
        learner._teaching = Teachers(models, session.encoder)
        parts = learner.objective(batch_of("say")).parts
        assert float(parts["say.distillation"].detach()) > 0


def test_a_copy_scores_with_the_table_of_its_own_clip() -> None:
    import copy

    encoder, hidden = tied(moved=True), torch.randn(2, 48)
    other = copy.deepcopy(encoder)
    move(other.backbone.trunk)
    with torch.no_grad():
        other.backbone.trunk.clip.token_embedding.weight.mul_(2.0)
    one, two = (e.backbone.trunk.said(hidden, "tell") for e in (encoder, other))
    assert torch.allclose(two, 2 * one, atol=1e-5)


def test_a_vocabulary_as_wide_as_the_text_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="another number than 640"):
        FameViLBackbone("ViT-B-32-plus-256", None, vocabulary=640)


@pytest.mark.parametrize("rows", [1, 2, 8, 9])
def test_few_rows_are_multiplied_from_the_other_side_with_the_same_numbers(rows: int) -> None:
    writer, hidden = Writer(48, 1024), torch.randn(rows, 48)
    wanted = hidden.double() @ writer.weight.double().T + writer.bias.double()
    with torch.no_grad():
        assert torch.allclose(writer(hidden).double(), wanted, atol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert writer(hidden).dtype == torch.bfloat16
        assert writer(hidden[None]).shape == (1, rows, 1024)
    writer(hidden).sum().backward()
    assert isinstance(writer.weight.grad, Tensor)
