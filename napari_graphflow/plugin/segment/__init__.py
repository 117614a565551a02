"""The dock *Segment*."""
