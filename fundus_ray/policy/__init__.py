"""All contact with network weights: make, load, log-probabilities, adapters, generation."""
