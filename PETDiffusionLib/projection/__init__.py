"""Projectors: line integrals through an image, and their adjoints."""
