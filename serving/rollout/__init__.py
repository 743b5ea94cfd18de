"""Moving a version label on running model servers, and back. Nothing in here imports TensorFlow.

__main__     the command line: python -m serving promote|rollback|apply|check
servers      servers by address: the two steps, with everything put back where one fails
cluster      pods by overlay: apply, or edit models.config, and wait until every pod follows
experiments  experiments.yaml in a cluster: valid, possible, in use
labels       the lists under which a label moves, and whether a server answers it
client       one model server
kubectl      a kustomize overlay and its cluster
"""
