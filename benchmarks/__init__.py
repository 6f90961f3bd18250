"""Scripts that measure Nightshift, and draw what they measured."""
