"""Schedules, servers and the command line."""
