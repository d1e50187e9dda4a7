"""Indexes: searchable galleries."""
