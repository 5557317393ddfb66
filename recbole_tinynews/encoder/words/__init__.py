"""Text encoders with word vectors, as used before language models."""
