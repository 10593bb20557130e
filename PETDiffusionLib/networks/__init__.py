"""Networks, one file each, named for what they are."""
