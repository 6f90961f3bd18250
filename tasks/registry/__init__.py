"""All that speaks to MLflow: where it is, runs, metrics, logged models, registered versions and their aliases."""
