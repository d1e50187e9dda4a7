"""Two processes of one training on this machine, for tests that they end where one process ends."""

from __future__ import annotations

import multiprocessing as mp
import os
import runpy
import subprocess
import sys
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

COUNT = 2
SHARED = ("fashreg.testing.tiny_run", "accelerate", "timm")


def in_two_processes(script: Path, *arguments: object, timeout: float = 1200) -> None:
    """Run `script ARGUMENTS...` as rank 0 and rank 1 of one world, and raise with what they wrote if one fails.

    Each sees what `torchrun --nproc-per-node=2` would set. Importing is most of what a small training costs: both are
    forked from one process that has imported this package, and nothing else was done in it. Not for Windows.

    Args:
        script: a Python file; it ends its own process group.
        arguments: what follows it on the command line.
        timeout: seconds until both are ended; far more than is needed, as machines that test are busy.
    """
    command = [sys.executable, "-m", __name__, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        raise AssertionError(f"{script.name} in two processes: exit status {done.returncode}\n{done.stderr}")


def _begin(rank: int, ports: Any, script: str, arguments: list[str]) -> None:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": COUNT, "LOCAL_WORLD_SIZE": COUNT}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports.get(), "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in {**numbers, **meeting}.items()})
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


def _both(script: str, arguments: list[str]) -> int:
    for name in SHARED:
        import_module(name)
    forked = mp.get_context("fork")
    ports = forked.SimpleQueue()
    ranks = [forked.Process(target=_begin, args=(rank, ports, script, arguments)) for rank in range(COUNT)]
    for process in ranks:
        process.start()
    # Made after the forks, as it has a thread of its own; it takes a port that is free and keeps it.
    meeting = import_module("torch.distributed").TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for _ in ranks:
        ports.put(meeting.port)
    running = {process.sentinel: process for process in ranks}
    while running:
        ended = wait(list(running))
        running = {sentinel: process for sentinel, process in running.items() if sentinel not in ended}
        if any(process.exitcode for process in ranks):
            for process in running.values():
                process.terminate()
    return max(abs(process.exitcode or 0) for process in ranks)


if __name__ == "__main__":
    sys.exit(_both(sys.argv[1], sys.argv[2:]))
