"""Folders of fashreg on the Hugging Face Hub, or on a mirror of it. Knows manifests; knows no torch and no model."""
