"""Stores: reading, dispatching and committing one participant's states."""
