"""Tasks while workers are killed and pilots canceled at random, and many of them at once.

The short version is part of `make test`. The long one, 20 seeds of a minute each:

    CHAOS_SEEDS=20 CHAOS_SECONDS=60 CHAOS_TASKS=2000 .venv/bin/python -m pytest tests/chaos -s

CHAOS_FIRST names the first seed, to repeat one that failed; -s shows what each storm did.
"""
