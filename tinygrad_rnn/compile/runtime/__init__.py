"""Running generated loops: their arrays, their arguments, what is done before and after them."""
