"""Names of attributes for what a file names as it likes."""

from __future__ import annotations

import re
from collections.abc import Container

from ..nn import Module


def attribute_name(name: str, default: str, taken: Container[str]) -> str:
    """A name for an attribute of a module, as near to `name` as can be, which no other one has.

    Letters, digits, underscores and dots stay; what a module has already, and what begins with an underscore, gets
    something in front.

    Examples
    --------
    >>> from tinygrad_rnn.io.attribute_names import attribute_name
    >>> attribute_name("/rnn/Gemm_1", "gemm", ()), attribute_name("forward", "x", ()), attribute_name("w", "x", {"w"})
    ('rnn_Gemm_1', 'the_forward', 'w_2')
    """
    plain = re.sub(r"[^\w.]+", "_", name).strip("_.") or default
    if hasattr(Module, plain.partition(".")[0]):
        plain = f"the_{plain}"
    found, i = plain, 2
    while found in taken:
        found, i = f"{plain}_{i}", i + 1
    return found
