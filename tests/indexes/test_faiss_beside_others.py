"""FAISS in a process where another library has replaced its methods."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import faiss.contrib.torch_utils, sys, torch
from pathlib import Path
from fashreg.functional.similarity import unit_rows
from fashreg.indexes.faiss import FaissIndex

kind, folder = sys.argv[1], Path(sys.argv[2])
vectors = unit_rows(torch.randn(1500, 8, generator=torch.Generator().manual_seed(0)))
index = FaissIndex(kind=kind, embed_dim=8)
index.add(vectors, torch.arange(1500))
index.delete(torch.arange(0, 30))
index.save(folder)
for asked in (index, FaissIndex.load(folder)):
    found = asked.search(vectors[100:110], 3, allowed=torch.arange(100, 1400)).ids
    assert found[:, 0].tolist() == list(range(100, 110)), found
print("searched")
"""


@pytest.mark.parametrize("kind", ["ivf-pq", "hnsw", "sq8"])
def test_an_index_works_where_another_library_has_replaced_methods_of_faiss(kind, tmp_path):
    command = [sys.executable, "-c", SCRIPT, kind, str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "searched", done.stderr[-2000:]
