"""Isolated, live state for the participants of a session, on Django's caches."""
