"""fashreg losses multi-objective and proxy-repulsion, sampler two-relation: three objectives, weighed."""
