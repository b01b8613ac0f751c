"""What was trained leaves the process: programs become code and files that need no package.

Rooms: `c` (a header in C99).
"""

from .c.to_c import CFile, to_c

__all__ = ["CFile", "to_c"]
