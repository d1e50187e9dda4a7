"""FAME-ViL over open_clip: one CLIP, an adapter set for each task, and a path between its towers."""
