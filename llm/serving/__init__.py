"""A model behind HTTP: what one server needs, without registry and orchestrator; `app` alone imports fastapi."""
