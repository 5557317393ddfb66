"""Impressions, news text and the loaders that batch them."""
