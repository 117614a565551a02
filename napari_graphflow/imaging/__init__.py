"""Images with geometry: files, masks, preprocessing; nothing here imports torch."""
