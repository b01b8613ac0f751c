"""A soak: random layers, options, shapes, inputs and changes, each held against the tape and finite differences.

``python -m tests.soak --minutes 60 --seed 1`` runs until the time is over, says what it covered, and ends with exit
code 1 if anything differed. Each case is drawn from the seed and its number alone:
``python -m tests.soak --seed 1 --case 17`` runs one again. With ``--models`` they are random models and losses, which
run as compiled functions and train as programs.
"""
