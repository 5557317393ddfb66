"""Encoders of news and users: language models or words, packing, frozen states, pooling."""
