"""From a program to its derivatives: the adjoint, and forward sensitivities of diagonal cells."""
