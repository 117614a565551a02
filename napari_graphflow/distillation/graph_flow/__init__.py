"""Graph Flow (IEEE TMI 2022)."""
