"""Hostile files: every reader gets made-up content, and may answer with a result or a documented error alone.

``python -m tests.fuzz --seconds 60`` runs all readers in turn under atheris, which looks for inputs that reach new
code; where it is not installed, a plain mutator runs.
"""
