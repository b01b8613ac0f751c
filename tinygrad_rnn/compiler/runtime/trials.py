"""What launches took, shared and not: where threads turn out to hurt, one does the next ones.

Estimates know neither other programs, which may want the same cores, nor this machine. So shared launches are compared
with one that was not shared, and after two that took longer, some are not.
"""

from __future__ import annotations

MEASURED = {2, 16, 128, 1024}  # which launches one thread does; the first takes longer, whoever does it
FEW, MANY = 4, 256  # launches that are not shared, after a first failure and after many


class Trials:
    """Times of launches that do the same work.

    Attributes
    ----------
    alone : int
        Nanoseconds that one thread takes; 0 if that is not known.
    """

    def __init__(self) -> None:
        self.alone = self._failures = self._left = 0
        self._seen, self._pause = 0, FEW

    def next_is_shared(self) -> bool:
        """Whether the next launch is to be shared."""
        self._seen += 1
        if self._seen in MEASURED:
            return False
        if self._left > 0:
            self._left -= 1
            return False
        return True

    def note(self, shared: bool, time: int) -> None:
        """Note what a launch took, in nanoseconds."""
        if not shared:  # the shortest of late: other programs only make it longer
            self.alone = min(time, self.alone + self.alone // 64) if self.alone else time
        elif self.alone and time > self.alone:
            self._failures += 1
            if self._failures == 2:
                self._failures, self._left, self._pause = 0, self._pause, min(2 * self._pause, MANY)
        elif self._failures:
            self._failures -= 1
        else:
            self._pause = max(FEW, self._pause // 2)
