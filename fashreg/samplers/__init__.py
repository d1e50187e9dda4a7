"""Samplers: which pictures meet in a batch."""
