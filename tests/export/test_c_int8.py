"""What small weights cost a model that was trained: hardly any of its right answers."""

import ctypes

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import _text, charlm, digits, speech
from tinygrad_rnn import nn
from tinygrad_rnn.data import DataLoader, Vocabulary
from tinygrad_rnn.train import error_rate

from .c_library import compiled, needs_compiler
from .test_c_models import call

pytestmark = [pytest.mark.slow, needs_compiler]
MOST = 0.005  # of right answers that may be lost


def exported(model, example, folder):
    """The model as C with weights of floats and of bytes, and a library of both."""
    files = [tr.export.to_c(model, folder / f"{kind}_.h", example=example, weights=kind) for kind in ("float", "int8")]
    assert 0 < files[1].error < 0.05
    assert files[1].weight_bytes < 0.5 * files[0].weight_bytes
    return files, compiled(folder, files, "-O2")


def test_digits(tmp_path):
    pytest.importorskip("sklearn")
    tr.seed(0)
    images, labels, others, wanted = digits.small_digits(0)
    model = digits.Classifier(8, 10, 30)
    digits.trainer(model).fit(DataLoader((images, labels), digits.BATCH_SIZE, shuffle=True), epochs=8)
    guesses = digits.classify(model.eval(), others)
    files, library = exported(model, others[:3], tmp_path)
    exact, small = (np.array([_guess(library, file, image) for image in others]) for file in files)
    assert (exact == guesses).all()
    right = [float((found == wanted).mean()) for found in (guesses, small)]
    assert right[0] > 0.9
    print("digits: right answers", right)
    assert right[0] - right[1] <= MOST


def _guess(library: ctypes.CDLL, file: tr.export.CFile, image: np.ndarray) -> int:
    """The most likely digit of one image, by the header's run."""
    state, image = np.zeros(file.state_bytes, np.uint8), np.ascontiguousarray(image, np.float32)
    logits = np.zeros(10, np.float32)
    arrays = [ctypes.c_void_p(a.ctypes.data) for a in (state, image, logits)]
    getattr(library, f"{file.name}_init")(arrays[0])
    getattr(library, f"{file.name}_run")(*arrays, ctypes.c_long(len(image)))
    return int(logits.argmax())


def test_charlm(tmp_path):
    """The next character, of a thousand steps of streams that were held out."""
    texts, others = _text.split([path.read_text("utf-8") for path in _text.sources()], 0.05, 0, 150_000)
    vocabulary = Vocabulary(texts, min_count=3, pad=None, sos=None, eos=None)
    tr.seed(0)
    model = _text.LanguageModel(len(vocabulary), 16, 64, "gru")
    learner = charlm.trainer(model)
    learner.fit(_text.streams(vocabulary.encode("".join(texts)), charlm.STREAMS, charlm.STEPS), epochs=4)
    ids = vocabulary.encode("".join(others))
    with tr.no_grad():
        logits, state = model.eval()(ids[:-1, None])
    files, library = exported(model, np.zeros((5, 3), int), tmp_path)
    wanted = [logits.numpy(), state.numpy()]
    whole, small = (call(library, file, [ids[:-1, None]], wanted, [len(ids) - 1], "float32")[0] for file in files)
    np.testing.assert_allclose(whole, wanted[0], atol=1e-4)
    right = [float((found[:, 0].argmax(-1) == ids[1:]).mean()) for found in (whole, small)]
    print("charlm: right characters", right)
    assert right[0] > 0.3
    assert right[0] - right[1] <= MOST


def test_speech(tmp_path):
    """Letters of recordings that were held out."""
    recordings = speech.synthesise(480, 0)
    alphabet = Vocabulary((r.text for r in recordings), pad="<blank>", unk=None, sos=None, eos=None)
    data, others = speech.Examples(recordings[:400], alphabet), speech.Examples(recordings[400:], alphabet)
    tr.seed(0)
    model = speech.Listener(len(alphabet), 48)
    speech.trainer(model).fit(data.loader(speech.BATCH_SIZE, shuffle=True), epochs=10)
    example = np.zeros((3, 40, speech.BANDS), np.float32), np.array([40, 30, 20])
    files, library = exported(model.eval(), example, tmp_path)
    heard: list[list[str]] = [[], []]
    for spectrogram in others.spectrograms:
        frames, length = spectrogram[None].astype(np.float32), np.array([len(spectrogram)])
        with tr.no_grad():
            wanted = [y.numpy() if isinstance(y, tr.Tensor) else y for y in model(frames, length)]
        for texts, file in zip(heard, files):
            log_probs, steps = call(library, file, [frames, length], wanted, [frames.shape[1]], "float32")
            ((labels, _),) = nn.ctc_greedy_decode(tr.tensor(log_probs), steps)
            texts.append("".join(alphabet.decode(labels)))
    right = [1 - error_rate(others.texts, texts) for texts in heard]
    print("speech: right letters", right)
    assert right[0] > 0.7
    assert right[0] - right[1] <= MOST
