"""fashreg backbone lite0: EfficientNet-Lite0 with ImageNet weights that need no network connection."""
