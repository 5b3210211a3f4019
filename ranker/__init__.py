"""Candidates, point-in-time features, LightGBM ranking, rules, explanation and the bundle that serves."""
