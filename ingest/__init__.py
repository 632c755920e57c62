"""From a STAC API to shards: sample, find scenes, pair, read, label, write."""
