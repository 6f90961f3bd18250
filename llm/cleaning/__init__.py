"""Cleaning: small named steps, each counted, and a quarantine that says what became of every record."""
