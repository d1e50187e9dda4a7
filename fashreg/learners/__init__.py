"""Learners: ways to learn from experiences."""
