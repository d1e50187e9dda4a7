"""What the report of a run says of the objectives."""

from __future__ import annotations

import torch
from fashreg_moml.hooks import fashreg_report_sections
from fashreg_moml.loss import MultiObjectiveLoss
from moml_plain import random_batch


def test_the_report_shows_shares_weights_cosine_and_proxies_of_a_run_with_three_objectives() -> None:
    loss = MultiObjectiveLoss(num_classes=5, embed_dim=6).double()
    log = []
    for step in range(3):
        batch = random_batch(12, 6, 5, step)
        batch.vectors.requires_grad_()
        loss(batch)
        log.append({"step": step + 1, **{name: float(part) for name, part in loss.parts.items()}})
    for prefix in ("", "batch."):  # with a memory the parts of the batch's own loss have a prefix
        lines = [{name if name == "step" else prefix + name: value for name, value in line.items()} for line in log]
        (section,) = fashreg_report_sections(lines)
        assert section.title == "Three objectives"
        assert len(section.charts) == 5
        assert [len(chart.series) for chart in section.charts] == [2, 3, 1, 1, 1]
        shares = section.charts[0].series
        assert shares["pairs, on rows"][0] == [1.0, 2.0, 3.0]
        assert shares["pairs, on rows"][1][0] == log[0]["share[pair]"]


def test_the_report_shows_what_remembered_pairs_weigh_and_contribute() -> None:
    line = {"step": 1, "batch.weight[proxy]": 1.0, "batch.share[pair]": 0.5, "memory.share[pair]": 0.25}
    (section,) = fashreg_report_sections([{**line, "memory.weight[pair]": 3.0}])
    shares, weights = section.charts
    assert shares.series["remembered pairs, on rows"] == ([1.0], [0.25])
    assert weights.series["remembered pairs"] == ([1.0], [3.0])


def test_the_report_shows_the_classes_drawn_whatever_the_loss() -> None:
    log = [{"step": 5, "loss": 1.0, "coverage[classes]": 0.25}, {"step": 10, "loss": 1.0, "coverage[classes]": 0.5}]
    (section,) = fashreg_report_sections(log)
    (chart,) = section.charts
    assert chart.series == {"classes": ([5.0, 10.0], [0.25, 0.5])}


def test_the_report_of_another_run_has_no_such_section() -> None:
    assert fashreg_report_sections([{"step": 1, "loss": 0.5, "positive": 0.2}]) == []


def test_objectives_that_are_left_out_are_not_shown() -> None:
    loss = MultiObjectiveLoss(num_classes=5, embed_dim=6, pair=None).double()
    batch = random_batch(12, 6, 5)
    batch.vectors.requires_grad_()
    loss(batch)
    assert not any("pair" in name for name in loss.parts)
    (section,) = fashreg_report_sections([{"step": 1, **{n: float(p) for n, p in loss.parts.items()}}])
    assert set(section.charts[0].series) == {"repulsion, on proxies"}
    assert torch.isfinite(loss.parts["weight[repulsion]"])
