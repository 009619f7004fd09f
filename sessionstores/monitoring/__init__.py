"""Monitoring: counters, warnings, history, figures and their Prometheus format."""
