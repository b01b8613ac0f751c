"""From a step to a program: tracing, the normal form, and what a trace may not freeze."""
