"""Item text to vectors, user history to interest, both tuned on behaviour."""
