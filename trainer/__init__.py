"""Offline training: FER2013 in, versioned SavedModels in model_repository/ out."""

import os

# On AVX-512 AMD processors oneDNN's 1x1 stride-2 convolution (every residual shortcut) corrupts the heap while
# training. AVX2 kernels do not, and were as fast. TensorFlow reads this once, at import.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
