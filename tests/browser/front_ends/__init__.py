"""A site whose board is written once for each front end, and people in front of it."""
