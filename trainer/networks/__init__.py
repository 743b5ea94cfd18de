"""The networks.

networks   by name
layers     what Keras lacks
spec       an architecture as a value
scores     from logits to scores: views, weighted mean, temperature
spec_cost  its parameters and operations, by arithmetic
"""
