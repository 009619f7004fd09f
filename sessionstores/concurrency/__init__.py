"""Concurrency primitives: backoff, sync-only calls, threads beside greenlets."""
