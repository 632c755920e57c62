"""Self-supervised methods: each module offers `build`, `views` and `loss`."""
