"""Tagging: multi-label classification."""
