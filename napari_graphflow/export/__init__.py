"""Exports: folders with which others run a model without this project."""
