"""Pure functions: similarity, pairs, metrics."""
