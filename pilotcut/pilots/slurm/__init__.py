"""Pilots that are Slurm jobs: job script, commands about jobs, and the pilot itself."""
