"""The skeleton of a fashreg plugin: one head, its contract tests, nothing else."""
