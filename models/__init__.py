"""Models of the tutorials, one file each: ``python -m models`` lists them."""
