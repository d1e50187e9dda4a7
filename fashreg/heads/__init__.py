"""Heads: features to embeddings."""
