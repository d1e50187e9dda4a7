import threading

import pytest
import torch

from fashreg.functional.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_every_item_is_worked_on_once_by_threads_of_one_core(two_cores):
    done, seen = [], set()
    with Workers(9, CPU) as workers:
        for _ in range(3):
            workers.each(lambda item: (done.append(item), seen.add(torch.get_num_threads())), range(9))
    assert sorted(done) == sorted([*range(9)] * 3)
    assert seen == {1}
    assert workers.size == 2


def test_no_other_thread_is_left_with_fewer_cores(two_cores):
    with Workers(9, CPU) as workers:
        workers.each(lambda item: torch.ones(4).sum(), range(9))
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *later] == [2, 2]


def test_an_error_in_one_part_is_raised(two_cores):
    def work(item):
        if item == 3:
            raise RuntimeError("part 3")

    with pytest.raises(RuntimeError, match="part 3"), Workers(9, CPU) as workers:
        workers.each(work, range(9))


@pytest.mark.parametrize(("parts", "device"), [(1, CPU), (9, torch.device("cuda"))])
def test_one_part_and_other_devices_need_no_threads(two_cores, parts, device):
    where = []
    with Workers(parts, device) as workers:
        workers.each(lambda item: where.append(threading.current_thread()), range(3))
    assert where == [threading.main_thread()] * 3
