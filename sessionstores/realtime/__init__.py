"""Realtime delivery: consumers, the hub of connections, events between processes."""
