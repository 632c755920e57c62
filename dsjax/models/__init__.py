"""Encoders that share one sensor-fusion stem and one output, `Features`."""
