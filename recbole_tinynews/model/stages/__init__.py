"""Models of stages that come before a recommender, and of its update."""
