"""Windows, metrics, baselines, the simulator and the evaluation report."""
