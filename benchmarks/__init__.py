"""Benchmarks, one file each: ``python -m benchmarks`` lists them."""
