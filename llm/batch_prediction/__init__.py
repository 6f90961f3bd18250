"""Predictions for all rows of a file or a table: streamed, resumable, and written whole or not at all."""
