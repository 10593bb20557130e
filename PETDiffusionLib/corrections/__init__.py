"""What stands between activity and counts, estimated from a scan itself: normalisation, randoms, scatter."""
