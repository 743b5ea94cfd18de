"""Architecture search: sample specs, train each in a process of its own, keep score in an Optuna study.

space    what can be sampled
plan     what all trials of a study do alike
study    the study's storage, and what its trials mean
claim    the next architecture to train: affordable, never trained before
trial    one training, in a child process
worker   claims and trains until the study has its trials
crew     several workers at once
report   what was found
retrain  the best, trained in full
"""
