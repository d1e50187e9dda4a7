"""Charts, the map and small pictures."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_shop import by_id
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fashreg.errors import FashregError
from fashreg.jobs.evaluation_result import Evaluation, StoredVectors
from fashreg.report.charts import MOST_POINTS, histogram, line_chart, training_charts
from fashreg.report.embedding_map import colouring, draw_map, project
from fashreg.report.svg import tag, tick_text, ticks
from fashreg.report.thumbnails import Thumbnails


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_rising_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 12
    assert found == sorted(found)
    assert all(low - 1e-5 * span <= tick <= low + 1.00001 * span for tick in found)


def test_ticks_are_round_and_written_shortly() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [tick_text(v, 0.2) for v in (0.0, 0.2, 1.0)] == ["0.0", "0.2", "1.0"]
    assert tick_text(12000.0, 2000.0) == "12,000"


def test_text_inside_a_drawing_is_escaped() -> None:
    assert str(tag("text", "<script>", x=1.0)) == '<text x="1">&lt;script&gt;</text>'
    assert "<b>" not in line_chart("<b>", {"<b>": ([1.0, 2.0], [1.0, 2.0])}, "<b>").drawing


def test_a_line_goes_through_its_values() -> None:
    chart = line_chart("Loss", {"loss": ([0.0, 1.0, 2.0], [0.0, 1.0, 0.5])}, "step")
    (line,) = [e for e in ET.fromstring(chart.drawing).iter() if e.tag.endswith("polyline")]
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.02)
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.02)
    assert y1 < y0  # larger is higher up


def test_a_long_series_is_thinned_to_means() -> None:
    xs = [float(x) for x in range(10_000)]
    drawing = line_chart("Loss", {"loss": (xs, [1.0, 3.0] * 5000)}, "step").drawing
    (line,) = [e for e in ET.fromstring(drawing).iter() if e.tag.endswith("polyline")]
    assert len(line.attrib["points"].split()) == MOST_POINTS


def test_training_charts_show_what_the_log_has() -> None:
    steps = [{"step": s, "epoch": 0, "experience": "a", "loss": 1.0 / s, "positive": 0.1, "lr": 0.1} for s in (1, 2, 3)]
    checks = [
        {"epoch": e, "experience": "a", "metrics": {"map@r": 0.1 * e, "map[x]": 0.0}, "best": e == 1} for e in (1, 2)
    ]
    charts = training_charts(steps, checks)
    assert [chart.title for chart in charts] == ["Loss", "Validation", "Learning rate"]
    assert charts[0].legend == ("loss", "positive")
    assert charts[1].note == "best weights: epoch 1"
    assert training_charts([], []) == []


def test_several_experiences_are_lines_of_their_own() -> None:
    steps = [{"step": s, "experience": e, "loss": 1.0, "other": 2.0} for e in ("first", "second") for s in (1, 2)]
    assert training_charts(steps, [])[0].legend == ("first", "second")


def test_a_histogram_counts_every_query() -> None:
    drawing = histogram(np.array([0.0, 0.01, 0.5, 1.0]), "map@r").drawing
    said = [e.text or "" for e in ET.fromstring(drawing).iter() if e.tag.endswith("title")]
    assert sum(int(text.split(": ")[1].split()[0]) for text in said if "queries" in text and ": " in text) == 4


def test_pca_finds_the_two_directions_of_largest_variance_whatever_the_sign() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(200, 5)) * np.array([5.0, 3.0, 0.1, 0.1, 0.1])
    plane, said = project(points)
    assert abs(np.corrcoef(plane[:, 0], points[:, 0])[0, 1]) > 0.999
    assert abs(np.corrcoef(plane[:, 1], points[:, 1])[0, 1]) > 0.99
    assert "100%" in said
    np.testing.assert_allclose(project(points)[0], plane)


@pytest.mark.parametrize("vectors", [np.ones((4, 3)), np.eye(3), np.arange(4.0)[:, None]])
def test_a_plane_is_made_of_anything(vectors: np.ndarray) -> None:
    plane, _ = project(vectors)
    assert plane.shape == (len(vectors), 2)
    assert np.isfinite(plane).all()


def test_tsne_keeps_clusters_together_and_is_the_same_twice() -> None:
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 8) * 5, 12, 0)
    vectors = centres + 0.1 * random.normal(size=centres.shape)
    plane, said = project(vectors, "tsne")
    groups = plane.reshape(3, 12, 2)
    inside = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=2).max()
    apart = min(np.linalg.norm(groups[a].mean(0) - groups[b].mean(0)) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert inside < apart
    assert "t-SNE" in said
    np.testing.assert_array_equal(project(vectors, "tsne")[0], plane)


def test_a_map_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, method, what in (("sklearn.manifold", "tsne", r"fashreg\[report\]"), ("umap", "umap", "umap-learn")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(FashregError, match=what):
            project(np.eye(5), method)  # type: ignore[arg-type]


def test_the_map_is_coloured_by_a_column_of_few_values() -> None:
    items = [{"id": i, "label": f"p{i}", "attributes": {"kind": "ab"[i % 2], "tone": "xyz"[i % 3]}} for i in range(12)]
    name, codes, groups = colouring(items)
    assert (name, sorted(groups), len(set(codes))) == ("tone", ["x", "y", "z"], 3)
    name, codes, groups = colouring([{"id": i, "label": f"p{i % 10}"} for i in range(25)])
    assert (name, len(groups), codes.count(-1)) == ("the 8 commonest labels", 8, 4)


def test_the_map_draws_every_picture_as_a_dot_and_some_as_pictures(evaluation: Evaluation) -> None:
    assert evaluation.vectors is not None
    made = draw_map(evaluation.vectors, by_id(evaluation), Thumbnails())
    assert made is not None
    assert made.points.count("<circle") == made.shown == made.of == 30
    assert 3 <= made.pictures.count("<image") <= 30
    assert draw_map(StoredVectors(torch.arange(2), torch.eye(2)), {}, Thumbnails()) is None


def test_a_thumbnail_is_a_small_jpeg_inside_the_page(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.png")
    uri = Thumbnails(tmp_path).uri({"image": "a.png"})
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (128, 64)


def test_jinja_and_scikit_learn_are_not_imported_by_the_command_line() -> None:
    code = "import sys, fashreg.cli.app; print([m for m in ('jinja2', 'sklearn', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
