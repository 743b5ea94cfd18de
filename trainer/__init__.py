"""Offline training: FER2013 in, versioned SavedModels in model_repository/ out.

__main__       the command line
commands       its commands
configs        trainings of the published models
data           labelled faces
networks       what is trained
training       how
evaluation     how good it is
ensemble       several networks as one
export         versions of model_repository/
search         architectures
results        what evaluations and searches found
run_directory  the files of a training
provenance     which code and libraries made a result
files          written whole or not at all
yaml_file      YAML whose numbers mean what they say
errors         what the command line says in one line
"""

import os

# Read when TensorFlow is imported; most of its start-up notices would bury our lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
