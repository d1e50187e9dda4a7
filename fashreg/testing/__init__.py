"""Contract suites that every component must pass; they travel with the interfaces."""
