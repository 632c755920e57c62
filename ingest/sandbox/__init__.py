"""The offline Earth: simulated or given scenes behind a faithful local copy of a provider's API, with faults."""
