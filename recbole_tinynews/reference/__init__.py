"""Help pages on models and settings, without importing torch."""
