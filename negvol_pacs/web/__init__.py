"""The status page and its API: what the ledger knows, for people and monitors; it changes nothing."""
