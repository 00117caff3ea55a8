"""Metrics, inference protocols and the tables they fill."""
