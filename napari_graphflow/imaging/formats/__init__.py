"""The file formats: their endings, reading by content, and writing."""
