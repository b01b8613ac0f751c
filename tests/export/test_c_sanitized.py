"""Headers under the sanitizers of addresses and of undefined behaviour, in a program of their own."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import tree
from tinygrad_rnn.testing.cell_table import BY_NAME
from tinygrad_rnn.testing.integer_cells import random_integer_cell
from tinygrad_rnn.testing.random_cells import random_cell

from . import examples as on
from .c_library import needs_compiler, require_no_complaints
from .test_c_models import OWN, exported, sizes_of

pytestmark = [needs_compiler, pytest.mark.slow]
CELLS = (
    "lstm", "gru-before", "mlstm-heads", "gated-deltanet-heads", "s6", "conv1d", "fast-weights", "layernorm-lstm",
    "lru", "two-inputs", "stateless", "stacked",
)  # fmt: skip
MODELS = [*OWN, *[e for e in on.MODELS if e.name in ("tagger", "speech", "transliterate")]]


def program(file, arrays, outputs, sizes):
    """A function that runs a header on arrays that are as large as they have to be."""
    lines, names = [f"static void run_{file.name}(void) {{"], []
    for i, (array, given) in enumerate([*[(a, True) for a in arrays], *[(y, False) for y in outputs]]):
        kind = "float" if array.dtype.kind == "f" else "int32_t"
        values = ", ".join(f"{v:.6g}" for v in array.ravel().tolist()) if given else "0"
        lines.append(f"    {kind} a{i}[{array.size}] = {{{values}}};")
        names.append(f"a{i}")
    text = file.path.read_text()
    if f"{file.name}_init" in text:
        lines += [f"    {file.name}_state state;", f"    {file.name}_init(&state);"]
        names.insert(0, "&state")
    names += map(str, sizes)
    if f"{file.name}_work" in text:
        lines.append(f"    float *work = malloc(sizeof(float) * {file.name}_work({', '.join(map(str, sizes))}));")
        names.append("work")
    lines.append(f"    {file.name}_run({', '.join(names)});")
    lines += ["    free(work);"] * (names[-1] == "work")
    return "\n".join([*lines, "}"])


def test_no_complaints(tmp_path):
    runs = []
    cells = [(name, BY_NAME[name].make(3, 4, "float32"), on.sequence_of(BY_NAME[name], 3, 1)) for name in CELLS]
    for seed in range(4):
        cell = random_cell(np.random.default_rng(seed), 12, np.float32)
        cells.append((f"random{seed}", cell, {k: v.data for k, v in cell.example_inputs(3, 1, False).items()}))
    for seed in range(3):
        cell = random_integer_cell(np.random.default_rng(seed))
        cells.append((f"integers{seed}", cell, tree.map(lambda x: x.data, cell.example_inputs(3, 1))))
    for i, (name, cell, xs) in enumerate(cells):
        path, weights = tmp_path / f"s_{name.replace('-', '_')}.h", ("float", "int8")[i % 2]
        file = tr.export.to_c(cell, path, example=tree.map(lambda x: x[0], xs), weights=weights)
        with tr.no_grad(), np.errstate(all="ignore"):
            ys, _ = tr.nn.Recurrent(cell, mode="eager")(tree.map(tr.tensor, xs))
        outputs = [y.data for y in tree.flatten(ys)[0]]
        runs.append((file, tree.flatten(xs)[0], outputs, [3]))
    for example in MODELS:
        model, file = exported(example, tmp_path)
        arguments = example.inputs(np.random.default_rng(0), 3, 1)
        sizes = [{"T": 3, "S": 4}[n] for n in sizes_of(file)]
        runs.append((file, list(on.leaves(arguments)), on.on_tape(model, *arguments), sizes))
    lines = ["#include <stdlib.h>", *[f'#include "{file.path.name}"' for file, *_ in runs]]
    lines += [program(*run) for run in runs]
    lines += ["int main(void) {", *[f"    run_{file.name}();" for file, *_ in runs], "    return 0;", "}"]
    (tmp_path / "main.c").write_text("\n".join(lines) + "\n")
    require_no_complaints(tmp_path / "main.c", "-O1")
