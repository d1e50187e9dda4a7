"""Evaluators: rankings to named fractions."""
