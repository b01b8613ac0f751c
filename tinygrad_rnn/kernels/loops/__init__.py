"""What surrounds a generated loop: how it is called, and the tasks before and after it.

Files, in reading order: `entry` (how a loop is compiled and called), `task_codes` (a record for each kind of task,
without Numba), `records`, `tasks` (packing, products, sums and copies, as a table), `arguments` (arrays that Python
passes), `contents` (whether objects hold what they held), `workers` (threads that wait for jobs), `jobs` (what threads
share), `launches` (tasks, a loop, and tasks again, in one call), `segments` (where the rows of sequences of different
lengths lie), `guarded_step` (runs only while arrays are what they were), `gradient_step` (what it gives adds to
gradients).
"""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
