"""Rerankers: a first ranking to a better one, by what the gallery itself holds."""
