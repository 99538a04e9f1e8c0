"""From a head volume to masks of both joints."""
