"""The dock *Distil*."""
