"""Recommenders of the Tiny-NewsRec paper, and those that it compares with."""
