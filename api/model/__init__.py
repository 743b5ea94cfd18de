"""The model server, over gRPC.

client     predictions, versions, labels and classes
backlog    how long a call would wait there
replicas   which of several servers is asked, and what happens when it does not answer
addresses  where they are
patience   how long an answer may take
channel    the connection to one of them
tensors    arrays to messages and back
"""
