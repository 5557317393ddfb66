"""Recommenders that others are compared with: of the field, of practice, and untrained."""
