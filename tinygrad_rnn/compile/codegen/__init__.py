"""From a schedule to Numba source, and to the module that it is."""
