"""Thin Prefect tasks over llm, and the one module that speaks to MLflow."""
