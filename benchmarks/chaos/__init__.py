"""What a night survives: processes killed at random, and every write, fsync, rename and POST that fails."""
