"""The dock *Volume*."""
