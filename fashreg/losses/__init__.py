"""Losses: embeddings to a scalar."""
