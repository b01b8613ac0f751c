"""Arrays that are used again."""

import os

import numpy as np
import pytest

from tinygrad_rnn.compiler.runtime import buffer_pool
from tinygrad_rnn.compiler.runtime.buffer_pool import KEPT, SIZES, SMALL, BufferPool


def test_an_array_comes_back_when_nobody_holds_it():
    pool = BufferPool(np.float32)
    a = pool.empty(SMALL)
    place, view = a.ctypes.data, a[10:20]
    del a
    assert pool.empty(SMALL).ctypes.data != place, "a view holds it"
    del view
    assert place in {x.ctypes.data for x in [pool.empty(SMALL) for _ in range(KEPT)]}


def test_zeros():
    """Small ones are shared: nobody writes to them."""
    pool = BufferPool(np.float64)
    for size in (0, 3, SMALL - 1, SMALL, 2 * SMALL):
        zeros = pool.zeros(size)
        assert zeros.dtype == np.float64
        assert zeros.size >= size
        assert not zeros.any()
    assert pool.zeros(5) is pool.zeros(7)


def test_few_sizes_are_kept():
    """What has not been asked for the longest goes."""
    pool = BufferPool(np.float32)
    pool.empty(SMALL)
    for i in range(3 * SIZES):
        pool.empty(SMALL + 1 + i)
        pool.empty(SMALL)
    assert len(pool._arrays) == SIZES
    assert SMALL in pool._arrays


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_can_use_it_though_a_thread_held_the_lock():
    with buffer_pool._lock:
        child = os.fork()
        if child == 0:
            os._exit(buffer_pool._lock.locked())
    assert os.waitpid(child, 0)[1] == 0
