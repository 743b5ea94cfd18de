"""Moving a version label on running model servers, and back.

promote           the two steps, with everything put back where one fails
client            one model server
models_config     the servers' list of models, as a file
cluster           an overlay and the Kubernetes cluster that runs it, by kubectl
cluster_checks    what its pods answer, against what the files say
cluster_steps     apply, and move a label, with every pod asked
cluster_commands  their command line
__main__          python -m serving promote|rollback|cluster
"""
