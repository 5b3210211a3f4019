"""Item text to vectors, history to interest, both tuned on behaviour."""
