"""What does keeping freed memory in the process give on a CPU? EfficientNet-Lite0, forward and training step, with and
without (`trainer.keep_freed_memory`, glibc's mallopt), and with the channels-last layout beside it.

Each cell runs in a fresh process, cells take turns; images per second, median over the rounds.

    python benchmarks/allocator.py [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

CELLS = [(size, work) for size in (128, 224) for work in ("forward", "training")]
KEEP = ("default", "kept", "kept + channels last")


def measure(size: int, work: str, keep: str) -> float:
    import timm
    import torch

    from fashreg.training.allocator import keep_freed_memory

    if keep != "default":
        keep_freed_memory()
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    images = torch.randn(32, 3, size, size)
    if keep.endswith("last"):
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def once() -> None:
        if work == "forward":
            with torch.inference_mode():
                network.eval()(images)
        else:
            network.train()(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    once()
    once()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return 32 / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(int(options.one[0]), options.one[1], options.one[2]))
        return
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for size, work in CELLS:
            for keep in KEEP:
                command = [sys.executable, __file__, "--one", str(size), work, keep]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rates.setdefault(f"{size} {work} {keep}", []).append(float(done.stdout.split()[-1]))
    print(f"{'images/s':<18}" + "".join(f"{keep:>24}" for keep in KEEP) + f"{'kept/default':>14}{'both/default':>14}")
    for size, work in CELLS:
        found = [statistics.median(rates[f"{size} {work} {keep}"]) for keep in KEEP]
        figures = "".join(f"{rate:>24.0f}" for rate in found)
        print(f"{f'{work}, {size} px':<18}{figures}{found[1] / found[0]:>14.2f}{found[2] / found[0]:>14.2f}")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()
