"""Statuses, drafts, proposals and rounds of a dataset that people label; without Qt or torch."""
