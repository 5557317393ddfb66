"""User encoders: one vector, or several, from the vectors of clicked articles.

Clicks are ``history``, ``[batch, history, dim]``, oldest first, and ``clicked``, ``[batch,
history]``, False for empty slots.
"""
