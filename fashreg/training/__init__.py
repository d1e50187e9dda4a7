"""The training room: what a learner needs to learn. `accelerate` is imported here and nowhere else."""
