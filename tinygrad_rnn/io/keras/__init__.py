"""Files of Keras 3: weights by our names, and models made anew of their configuration, which is data.

Files, in reading order: `importing` (from_keras), `reading` (what files hold), `weights` (arrays of a layer, by our
names and in our order), `configuration` (layers made of their settings), `merging` (layers without weights),
`keras_layers` (how layers are called), `keras_model` (the module).
"""

from .importing import from_keras

__all__ = ["from_keras"]
