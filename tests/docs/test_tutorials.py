"""The tutorials: their code runs, and does what they say."""

import runpy

import numpy as np
import pytest

from ..export.c_library import needs_compiler
from .page import blocks, read


@pytest.mark.slow
@needs_compiler
def test_the_amplifier(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "tutorial.py"
    script.write_text("\n".join(block.text for block in blocks(read("tutorials/amplifier.md"))), encoding="utf-8")
    found = runpy.run_path(str(script))
    assert "bytes of weights" in capsys.readouterr().out
    assert found["difference"] < 3 / 32768
    assert found["error"] < 0.05
    assert np.isfinite(found["in_c"]).all()
