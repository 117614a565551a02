"""Settings of runs, methods, networks and saved models; nothing here imports torch."""
