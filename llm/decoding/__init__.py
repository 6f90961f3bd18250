"""Turning next-token scores into text: greedy, sampling and beam search over a key/value cache."""
