"""A cell run over time: eagerly or compiled, with guards, lengths and recomputation."""
