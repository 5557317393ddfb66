"""A finished recommender in the formats of others; ``exporting.export`` writes them all."""
