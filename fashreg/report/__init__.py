"""One self-contained HTML page of a run, an evaluation or a comparison."""
