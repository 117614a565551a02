"""Client of the inference worker."""
