"""Per-impression metrics, and their adapters for RecBole."""
