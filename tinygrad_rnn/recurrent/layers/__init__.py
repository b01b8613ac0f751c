"""Layers that run cells over sequences, and wrappers that change what a cell does."""
