"""Generalisable distillation (IEEE JBHI 2024)."""
