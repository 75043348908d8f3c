"""Files, locks and environment variables: what knows nothing of circuits, pilots or tasks."""
