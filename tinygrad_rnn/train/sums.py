"""Sums of arrays over processes, in the order of their ranks: by messages, or in shared memory."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

LINE = 64  # bytes of a cache line
FOLDER = "/dev/shm"  # where Linux keeps shared memory


class ByMessages:
    """Sums over processes anywhere: each adds up a piece of the array, and hands it out.

    Parameters
    ----------
    world : mpi4py.MPI.Comm
    nbytes : int
        Bytes of the largest array.
    """

    def __init__(self, world: Any, nbytes: int):
        self.world, self.nbytes = world, nbytes
        self.mine = np.empty(nbytes, np.uint8)

    def total(self, mine: np.ndarray) -> np.ndarray:
        world = self.world
        size = world.Get_size()
        ends = _ends(len(mine), size)
        starts = [0, *ends[:-1]]
        counts = [end - start for start, end in zip(starts, ends)]
        here = counts[world.Get_rank()]
        pieces = np.empty((size, here), mine.dtype)
        world.Alltoallv([mine, (counts, starts)], [pieces, ([here] * size, [n * here for n in range(size)])])
        total = np.empty_like(mine)
        world.Allgatherv(_add_up(pieces, pieces[0]), [total, (counts, starts)])
        return total

    def close(self) -> None:
        pass


class InSharedMemory:
    """Sums over the processes of one machine: each adds up a piece where the arrays of all of them lie.

    Messages within a machine go through small buffers, one copy in and one out: they take twice as long between two
    processes, three times between three.

    Parameters
    ----------
    world : mpi4py.MPI.Comm
        All processes make this together.
    nbytes : int
        Bytes of the largest array.
    """

    def __init__(self, world: Any, nbytes: int):
        from mpi4py import MPI

        self.world, self.nbytes = world, nbytes
        room = max(1, -(-nbytes // LINE)) * LINE
        rank, size = world.Get_rank(), world.Get_size()
        self._window = MPI.Win.Allocate_shared(room * (size + 1) if rank == 0 else 0, comm=world)
        self._window.Lock_all()  # one epoch of access for good: barriers say who writes when
        memory = np.asarray(self._window.Shared_query(0)[0]).view(np.uint8).reshape(size + 1, room)
        *self._parts, self._total = memory
        self.mine = self._parts[rank]

    def total(self, mine: np.ndarray) -> np.ndarray:
        rank, size = self.world.Get_rank(), self.world.Get_size()
        self._meet()
        start, end = [0, *_ends(len(mine), size)][rank : rank + 2]
        total = self._total[: mine.nbytes].view(mine.dtype)
        _add_up([part[: mine.nbytes].view(mine.dtype)[start:end] for part in self._parts], total[start:end])
        self._meet()
        return total.copy()  # what follows changes it in place, each process for itself

    def _meet(self) -> None:
        """Wait for all processes, and see what they have written."""
        self._window.Sync()
        self.world.Barrier()
        self._window.Sync()

    def close(self) -> None:
        """Give the memory back: all have to call it."""
        del self._parts, self._total, self.mine
        self._window.Unlock_all()
        self._window.Free()


class Sums:
    """Sums over processes in the way that suits where they are, again and again.

    All processes call the same methods with arrays of the same sizes.

    Parameters
    ----------
    world : mpi4py.MPI.Comm
    one_machine : bool
        Whether all of them share its memory.
    """

    def __init__(self, world: Any, one_machine: bool):
        self.world, self.one_machine = world, one_machine
        self._way: ByMessages | InSharedMemory | None = None

    def room(self, count: int, dtype: np.dtype) -> np.ndarray:
        """Where this process writes its numbers, before :meth:`total`; what it holds is left from before."""
        nbytes = count * dtype.itemsize
        if self._way is None or self._way.nbytes < nbytes:
            self._grow(nbytes)
        assert self._way is not None
        return self._way.mine[:nbytes].view(dtype)

    def total(self, mine: np.ndarray) -> np.ndarray:
        """The sum of what all processes have written in their rooms: a new array, of the same bits in each."""
        assert self._way is not None
        return self._way.total(mine)

    def _grow(self, nbytes: int) -> None:
        """Make room for larger arrays: in shared memory if there is enough of it, as process 0 sees it."""
        if self._way is not None:
            self._way.close()
        if self.one_machine:
            self.one_machine = self.world.bcast(_free() > 2 * nbytes * (self.world.Get_size() + 1))
        self._way = (InSharedMemory if self.one_machine else ByMessages)(self.world, nbytes)


def _ends(count: int, size: int) -> list[int]:
    """Where the piece of each process ends."""
    return [count * (i + 1) // size for i in range(size)]


def _add_up(pieces: Any, out: np.ndarray) -> np.ndarray:
    """The sum of arrays, in their order; `out` may be the first."""
    if out is not pieces[0]:
        np.copyto(out, pieces[0])
    for other in pieces[1:]:
        out += other
    return out


def _free() -> int:
    """Bytes left for shared memory: a process that writes beyond them is killed."""
    try:
        return shutil.disk_usage(FOLDER).free
    except OSError:
        return 0
