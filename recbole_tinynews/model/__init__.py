"""News recommenders that a user can name, and the models of stages."""
