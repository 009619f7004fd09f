"""Participants: tokens, joining, and recognising them in requests."""
