"""Basic file access: atomic writes, locks, lines, cached arrays, safetensors."""
