"""Separation models; each is known to the rest by what all share."""
