"""Predicting with and serving exported networks, without torch."""
