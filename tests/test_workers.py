import threading

import pytest
import torch

from kd_lib._workers import in_threads


def test_answers_come_in_the_order_of_the_items():
    first = threading.Event()

    def work(number, power):
        if number == 0:
            first.wait(0.1)  # the others overtake it where there are several cores
        return number**power

    assert in_threads(work, range(5), [2] * 5) == [0, 1, 4, 9, 16]
    assert in_threads(work, []) == []


def test_each_runs_pytorch_in_one_thread_and_the_caller_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert in_threads(lambda _: torch.get_num_threads(), range(3)) == [1, 1, 1]
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda number: 1 / number, [1, 0])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
