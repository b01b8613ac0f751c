"""All tests; the compiler verifies what each of its phases hands on while they run."""

import os

os.environ.setdefault("TINYGRAD_RNN_VERIFY", "1")
