"""Participants: tokens, joining, throttling, and identification by request."""
