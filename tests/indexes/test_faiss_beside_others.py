"""FAISS in a process where another library has replaced its methods."""

from __future__ import annotations

import subprocess
import sys

KINDS = ("ivf-pq", "hnsw", "sq8")
SCRIPT = """
import faiss.contrib.torch_utils, sys, torch
from pathlib import Path
from fashreg.functional.similarity import unit_rows
from fashreg.indexes.faiss import FaissIndex

vectors = unit_rows(torch.randn(1500, 8, generator=torch.Generator().manual_seed(0)))
for kind in sys.argv[2:]:
    folder = Path(sys.argv[1]) / kind
    index = FaissIndex(kind=kind, embed_dim=8)
    index.add(vectors, torch.arange(1500))
    index.delete(torch.arange(0, 30))
    index.save(folder)
    for asked in (index, FaissIndex.load(folder)):
        found = asked.search(vectors[100:110], 3, allowed=torch.arange(100, 1400)).ids
        assert found[:, 0].tolist() == list(range(100, 110)), found
    print("searched", kind)
"""


def test_an_index_works_where_another_library_has_replaced_methods_of_faiss(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *KINDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"searched {kind}" for kind in KINDS], done.stderr[-2000:]
