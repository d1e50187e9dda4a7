"""Memories: embeddings of earlier batches."""
