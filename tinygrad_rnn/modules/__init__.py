"""Parameters, modules, initialisers, and all layers and losses that are not recurrent."""
