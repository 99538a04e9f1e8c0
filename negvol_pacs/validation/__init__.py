"""Proofs of the measurements on joints whose numbers are known."""
