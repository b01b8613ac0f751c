"""Every model, made small: a training of a moment, and what can be done with its weights."""

import subprocess
import sys
from pathlib import Path

from models import __main__ as command

ROOT = Path(command.__file__).parents[1]

# the arguments of a short training; at least two epochs
QUICK = {
    "airline": ["--epochs", "4"],
    "charlm": ["--epochs", "2", "--characters", "12000", "--hidden-size", "16"],
    "digits": ["--epochs", "2"],
    "memory": [
        *("--epochs", "2", "--sequences", "300", "--hidden-size", "8", "--gaps", "4", "6", "--cells", "rnn", "lstm")
    ],
    "forecast": ["--epochs", "2", "--days", "250", "--hidden-size", "16"],
    "melody": ["--epochs", "2", "--tunes", "120", "--hidden-size", "16"],
    "policy": ["--epochs", "4", "--hidden-size", "8"],
    "roommate": [
        *("--epochs", "2", "--samples", "100", "--long-samples", "60", "--long-hidden-size", "16", "--meals", "6")
    ],
    "sentiment": ["--epochs", "3", "--reviews", "200", "--hidden-size", "16"],
    "sine": ["--epochs", "4", "--samples", "60"],
    "speech": ["--epochs", "3", "--recordings", "60", "--hidden-size", "16"],
    "tagger": ["--epochs", "2", "--characters", "60000", "--hidden-size", "16"],
    "transliterate": ["--epochs", "2", "--pairs", "400", "--hidden-size", "16"],
    "wordlm": ["--epochs", "2", "--hidden-size", "16", "--data", str(ROOT / "README.md"), str(ROOT / "docs")],
}

# sub-commands on the weights of that training, and something that they print
USES = {
    "airline": (["predict", "--steps", "3"], r"^\d+\.\d( \d+\.\d){2}\n$"),
    "charlm": (["complete", "import o", "--count", "3", "--beam-size", "3"], r"^( *\d+\.\d%  \w+\n){3}$"),
    "digits": (["predict", str(ROOT / "tests" / "models" / "seven.png"), "--dark-on-light"], r"seven.png: \d \(\d+%\)"),
    "memory": (["recall", "--task", "adding", "--gap", "5"], r"(\d\.\d{3} \+ .* it says .*\n){5}.*over 5 steps"),
    "forecast": (["predict"], r"^(\d+(\.\d+)? ?){14}$"),
    "melody": (["generate", "--start", "A4"], r"new-1\.mid: A4:"),
    "policy": (["play"], r"return -?\d+\.\d{3}\n$"),
    "roommate": (["predict", "sunny", "rainy"], r"^sunny: .+\nrainy: .+\n$"),
    "sentiment": (["predict", "the plot is dull , but the cast is not"], r"^(good|bad) \(\d+\.\d%\): the plot"),
    "sine": (["predict", "--steps", "3", "--values", "0", "0.2", "0.4"], r"follow  (-?\d\.\d{3}\s?){3}$"),
    "speech": (["transcribe"], r"example\.wav: "),
    "tagger": (["tag", str(ROOT / "models" / "__main__.py")], r"^def\t\w+\nmain\t\w+$"),
    "transliterate": (["translate", "한", "--beam", "2"], r"^한: [a-z]*$"),
    "wordlm": (["suggest", "the state of", "--count", "2"], r"^( *\d+\.\d%  \S+\n){2}$"),
}


def fresh(*arguments):
    """``python -m models`` in a process of its own: what it prints."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "models", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout
