"""The audit trail: who sent what to whom, and who was turned away (PS3.15 annex A.5)."""
