"""Programs that measure: the demo, quality, speed and memory. Results that are kept lie in benchmarks/results."""
