"""Methods: what a user picks, one file each, composing the rooms of the engine."""
