"""Images with geometry: files, masks and preprocessing, without torch."""
