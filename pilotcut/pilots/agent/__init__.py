"""Agents: the processes that pilots start on nodes, and how they are started."""
