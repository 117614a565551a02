"""Saved models: files, size, devices, compatibility."""
