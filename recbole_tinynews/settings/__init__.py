"""Settings: their syntax, declarations, layers and valid values."""
