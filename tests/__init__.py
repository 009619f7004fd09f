"""Tests of sessionstores."""
