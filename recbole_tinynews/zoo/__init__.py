"""Other recommenders of the field, written with what docs/extending.md offers to any user.

A recommender is a module and the yaml of its settings; the registry finds both by their names.
"""
