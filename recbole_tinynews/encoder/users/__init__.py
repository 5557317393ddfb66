"""User encoders: one vector, or several, from the vectors of clicked articles.

``history`` is ``[batch, history, dim]``, oldest click first; ``clicked``, ``[batch, history]``, is
False for empty slots.
"""
