"""Self-supervised methods: each module offers a model and `method`, which the step factory trains it by."""
