"""The app whose states the tests use."""
