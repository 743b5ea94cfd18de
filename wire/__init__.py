"""TensorFlow Serving's messages without TensorFlow: how gateway and rollouts speak to a model server.

serving.proto  the messages; says how serving_pb2 is generated from it
serving_pb2    the generated code
target         what to ask: a model, and its version or label
address        where to ask it
"""
