"""Synthetic heads, training and evaluation."""
