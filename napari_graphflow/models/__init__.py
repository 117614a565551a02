"""Saved models: files, sizes, devices, what they fit."""
