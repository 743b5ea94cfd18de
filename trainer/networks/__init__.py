"""The networks.

networks   by name
layers     what Keras lacks
spec       an architecture as a value
spec_cost  its parameters and operations, by arithmetic
"""
