"""Metrics, comparisons, reports; nothing here imports torch."""
