"""Training on a corpus with JAX: self-supervised pre-training, evaluation, embeddings."""
