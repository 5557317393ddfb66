"""Texts by word vectors, as recommenders read them before there were language models."""
