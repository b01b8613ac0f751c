"""The pool of threads: several callers at once, each of which wants another number of them."""

import threading

import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.compiler.runtime import threads


@pytest.fixture(autouse=True)
def eight_threads(restless_threads):
    before = tr.get_num_threads()
    tr.set_num_threads(8)
    yield
    tr.set_num_threads(before)


def test_callers_that_start_at_once_with_ever_larger_batches():
    """A pool that has become too small goes on with the work that it has."""
    failures = []

    def call(rows, barrier):
        try:
            barrier.wait()
            for n in (2, rows):
                seen = [0] * n

                def count(start, stop, seen=seen):
                    for i in range(start, stop):
                        seen[i] += 1

                threads.run(count, n, n * threads.WORTH)
                assert seen == [1] * n
        except Exception as error:
            failures.append(error)

    for _ in range(200):
        threads._pool, threads._pool_size = None, 0  # a cold start
        barrier = threading.Barrier(6, timeout=60)
        callers = [threading.Thread(target=call, args=(n, barrier)) for n in (2, 3, 4, 5, 7, 8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not failures


def test_a_failure_waits_for_the_others():
    """They may still be writing to arrays that the next call uses."""
    done = []
    event = threading.Event()

    def work(start, stop):
        if start == 0:
            threading.Timer(0.05, event.set).start()
            raise ValueError("first")
        assert event.wait(60)
        done.append(start)

    with pytest.raises(ValueError, match="first"):
        threads.run(work, 4, 4 * threads.WORTH)
    assert sorted(done) == [1, 2, 3]
