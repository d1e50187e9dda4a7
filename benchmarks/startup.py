"""How long do `import fashreg` and `fashreg list` take, the latter with 100 plugins installed?

Prints a table of milliseconds above (or for) a fresh interpreter; median and range over the runs.

    python benchmarks/startup.py [--runs 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGINS = 100


def make_plugins(site: Path) -> None:
    """A hundred distributions on disk whose modules import torch: listing must not run any of them."""
    for i in range(PLUGINS):
        name = f"fashreg_p{i}"
        (site / f"{name}.py").write_text("import torch\nclass Thing:\n    pass\n")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: fashreg-p{i}\nVersion: 1.0\nRequires-Dist: fashreg>=0.1\n"
        )
        (info / "entry_points.txt").write_text(f"[fashreg.loss]\nthing-{i} = {name}:Thing\n")


def once(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    python = sys.executable
    fashreg = str(Path(python).with_name("fashreg"))
    arms = {
        "bare interpreter": [python, "-c", "pass"],
        "import fashreg": [python, "-c", "import fashreg"],
        "fashreg list": [fashreg, "list"],
        "fashreg list loss --json": [fashreg, "list", "loss", "--json"],
    }
    with tempfile.TemporaryDirectory() as folder:
        make_plugins(Path(folder))
        environment = {**os.environ, "PYTHONPATH": folder}
        times: dict[str, list[float]] = {name: [] for name in arms}
        for run in range(options.runs + 1):  # the first round warms the disk cache and is dropped
            for name, command in arms.items():
                took = once(command, environment)
                if run:
                    times[name].append(took)
    print(f"{PLUGINS} plugins installed, {options.runs} runs of each in turn; milliseconds\n")
    print(f"{'command':<28}{'median':>9}{'min':>9}{'max':>9}")
    for name, values in times.items():
        print(f"{name:<28}{statistics.median(values):>9.0f}{min(values):>9.0f}{max(values):>9.0f}")
    above = [a - b for a, b in zip(times["import fashreg"], times["bare interpreter"], strict=True)]
    print(f"\nimport fashreg above the bare interpreter: {statistics.median(above):.0f} ms (aim: at most 60)")
    print(f"fashreg list: {statistics.median(times['fashreg list']):.0f} ms (aim: at most 400)")
    if options.json:
        options.json.write_text(json.dumps(times, indent=1))


if __name__ == "__main__":
    main()
