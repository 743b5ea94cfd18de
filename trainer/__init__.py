"""Offline training: FER2013 in, versioned SavedModels in model_repository/ out."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
