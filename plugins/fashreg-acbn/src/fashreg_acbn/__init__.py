"""fashreg memory acbn: a cross-batch memory whose rows follow the drift of the embedding."""
