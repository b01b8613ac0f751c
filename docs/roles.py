"""A hook of mkdocs: roles in docstrings, such as :func:`tinygrad_rnn.tanh`, are read as code."""

import re

ROLE = re.compile(r":(?:func|class|meth|attr|mod):<code>[~.]*([^<]*)</code>")


def on_page_content(html: str, **_: object) -> str:
    return ROLE.sub(r"<code>\1</code>", html)
