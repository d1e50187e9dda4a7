from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fashreg.errors import ModelError
from fashreg.training.checkpoint import (
    Checkpoints,
    random_state,
    read_state,
    seed_everything,
    set_random_state,
    write_state,
)
from fashreg.training.packing import pack, unpack


def numbers() -> list[float]:
    return [
        random.random(),
        float(np.random.rand()),
        float(torch.rand(())),
        random.gauss(0, 1),
        float(np.random.randn()),
    ]


def test_all_random_numbers_go_on_where_they_were() -> None:
    seed_everything(3)
    numbers()
    tensors, plain = pack(random_state())
    after = numbers()
    seed_everything(4)
    set_random_state(unpack(tensors, plain))
    assert numbers() == after


def test_a_seed_fixes_them_all() -> None:
    drawn = []
    for seed in (7, 7, 2**40 + 7):
        seed_everything(seed)
        drawn.append(numbers())
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_newest_is_kept_and_older_ones_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest() is None
    assert checkpoints.load() is None
    for step in (9, 10, 1_000_000_000):
        checkpoints.save(step, {"step": step, "row": torch.ones(2)})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-1000000000"]
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 1_000_000_000


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_changed_file_is_named(tmp_path: Path, name: str) -> None:
    write_state(tmp_path / "c", {"row": torch.ones(20)})
    path = tmp_path / "c" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=name):
        read_state(tmp_path / "c")


def test_a_state_whose_parts_do_not_agree_is_refused(tmp_path: Path) -> None:
    from fashreg.manifest import write_folder_atomically
    from fashreg.strict_json import write_json
    from fashreg.strict_tensors import write_tensors

    with write_folder_atomically(tmp_path / "c", kind="checkpoint") as fresh:
        write_tensors(fresh / "state.safetensors", {"a": torch.ones(1)})
        write_json(fresh / "state.json", {"encoder": {"#tensor": "b"}})
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        read_state(tmp_path / "c")


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from fashreg.training.checkpoint import Checkpoints
torch.set_num_threads(1)
os.fsync = lambda handle: None  # a process is killed here, not the machine
checkpoints = Checkpoints(Path(sys.argv[1]))

def state(step):
    return {"step": step, "rows": {str(i): torch.full((40, 50), float(step)) for i in range(6)}}

checkpoints.save(1, state(1))
started = time.monotonic()
checkpoints.save(1, state(1))
one = time.monotonic() - started
last, turn = 1, 0
while turn < 25 or last < 6 and turn < 250:  # on a busy machine until the children have really written
    turn += 1
    child = os.fork()
    if child == 0:
        step = last
        while True:
            step += 1
            checkpoints.save(step, state(step))
    time.sleep(random.uniform(0.0, 3 * one))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = checkpoints.load()
    assert found["step"] >= last, (found["step"], last)
    assert all(bool((rows == found["step"]).all()) for rows in found["rows"].values())
    last = found["step"]
checkpoints.save(last + 1, state(last + 1))
print(last, *(path.name for path in Path(sys.argv[1]).iterdir()))
"""


def test_kill_9_while_writing_leaves_a_whole_checkpoint_twenty_five_times(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "c")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    last, *names = done.stdout.split()
    assert int(last) > 5  # the children really wrote
    assert names == [f"step-{int(last) + 1:09d}"]  # and nothing half done stays
