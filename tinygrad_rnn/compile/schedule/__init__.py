"""From programs to loops: what is saved, in which order values are computed, in which buffers."""
