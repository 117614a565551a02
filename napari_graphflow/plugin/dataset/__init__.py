"""*Dataset*: label the cases of a dataset, with or without a model."""
