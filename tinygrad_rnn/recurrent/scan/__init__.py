"""Scan: runs a cell over time, eagerly on the tape or by one compiled loop, with the same results.

Files, in reading order:

- a call: `driver` (checks its arguments), `arguments`, `axis_layout`, `valid_steps` (lengths, masks, resets),
  `advance` (compiled, eagerly or in chunks), `eager`, `remat` (gradient checkpointing), `anomaly`, `open_sequence`;
- compiled calls: `call_cache` (finds a guarded call), `compiled` (builds one), `program` (a traced step and its
  loops), `loop` (a loop as an operation), `traced_scan` (a scan in a whole function that is traced);
- from a step to a program, with nothing frozen in silence: `tracing`, `guards`, `guard_search`, `facts`,
  `snapshot`, `kinds` (of objects), `code_names`, `attribute_path`, `numbers` (those of a cell that are inputs),
  `dependencies`, `dry_run`, `outer_state`, `random_generators`, `row_numbers`.

It knows cells by their protocol, and knows nothing of layers. The compiler is imported at the first compiled call.
"""
