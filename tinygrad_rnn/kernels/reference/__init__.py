"""A plain NumPy twin of each kernel, by the name of its file."""
