"""Real images with outlined bones: where they come from, how they are kept and what they teach."""
