"""One Transformer block, three assemblies over it, and their exact twins in `transformers`."""
