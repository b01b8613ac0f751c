"""Names and NumPy arrays as files: written whole, read without running code. It knows no tensors.

Files, in reading order: `weights` (safetensors, npz and PyTorch's files, told apart by their content), `archives` (the
last two); `checkpoint` (a nest of arrays and numbers as one file); `files` (written atomically, older ones kept).
"""
