"""Monitoring: counters, alerts, history, stats and their Prometheus format."""
