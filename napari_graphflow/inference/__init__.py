"""Use a trained network: masks, maps, the worker's server."""
