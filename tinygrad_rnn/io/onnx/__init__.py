"""Models of ONNX as modules: files are read as data and checked, their nodes run as operations here.

Files, in reading order: `importing` (from_onnx), `reading` (a file, and what it keeps in others), `graph` (nodes and
values, decoded and checked), `operators` (what each type of node computes), `running` (nodes one after the other),
`onnx_module` (the module).
"""

from .importing import from_onnx

__all__ = ["from_onnx"]
