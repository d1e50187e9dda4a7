"""Backbones: pictures to features."""
