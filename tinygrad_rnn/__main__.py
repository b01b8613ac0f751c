"""``python -m tinygrad_rnn``: the command line ``tinygrad-rnn``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
