"""What small weights cost a model that was trained: hardly any of its right answers."""

import ctypes

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import digits
from tinygrad_rnn.data import DataLoader

from .c_library import compiled, needs_compiler


@pytest.mark.slow
@needs_compiler
def test_digits(tmp_path):
    pytest.importorskip("sklearn")
    tr.seed(0)
    images, labels, others, wanted = digits.small_digits(0)
    model = digits.Classifier(8, 10, 30)
    digits.trainer(model).fit(DataLoader((images, labels), digits.BATCH_SIZE, shuffle=True), epochs=8)
    guesses = digits.classify(model.eval(), others)
    files = [
        tr.export.to_c(model, tmp_path / f"{kind}_.h", example=others[:3], weights=kind) for kind in ("float", "int8")
    ]
    library = compiled(tmp_path, files, "-O2")
    exact, small = (np.array([_guess(library, file, image) for image in others]) for file in files)
    assert (exact == guesses).all()
    right = [float((found == wanted).mean()) for found in (guesses, small)]
    assert right[0] > 0.9
    assert right[0] - right[1] <= 0.005
    assert 0 < files[1].error < 0.03
    assert files[1].weight_bytes < 0.4 * files[0].weight_bytes


def _guess(library: ctypes.CDLL, file: tr.export.CFile, image: np.ndarray) -> int:
    """The most likely digit of one image, by the header's run."""
    state, image = np.zeros(file.state_bytes, np.uint8), np.ascontiguousarray(image, np.float32)
    logits = np.zeros(10, np.float32)
    arrays = [ctypes.c_void_p(a.ctypes.data) for a in (state, image, logits)]
    getattr(library, f"{file.name}_init")(arrays[0])
    getattr(library, f"{file.name}_run")(*arrays, ctypes.c_long(len(image)))
    return int(logits.argmax())
