"""fashreg."""
