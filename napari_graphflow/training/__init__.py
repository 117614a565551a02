"""Train and distil: the loop, its state, its process."""
