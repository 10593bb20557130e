"""Training: data sets and loops."""
