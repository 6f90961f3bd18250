"""Prefect flows: one user story each."""
