"""The model server, over gRPC.

client   predictions, versions, labels and classes
channel  the connection
tensors  arrays to messages and back
"""
