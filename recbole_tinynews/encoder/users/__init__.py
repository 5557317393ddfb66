"""User encoders: one vector, or several, from the vectors of clicked articles."""
