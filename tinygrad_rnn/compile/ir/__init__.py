"""Programs: symbols, their operations, and what only reads them (printer, interpreter, comparison)."""
