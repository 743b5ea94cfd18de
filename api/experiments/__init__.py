"""A/B tests of model versions: who gets which variant, and which variant is better."""
