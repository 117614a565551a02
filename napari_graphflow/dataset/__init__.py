"""Datasets: folders of cases in the raw layout of nnU-Net v2, some of them without a mask."""
