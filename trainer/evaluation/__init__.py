"""How good a model is.

predictor      a SavedModel, or a model server, that answers with scores
metrics        accuracy, calibration, tests
measure        one or two models on one split
conditions     faces as cameras give them
robustness     a model under all conditions, and how sure it must be
measured_cost  operations and milliseconds
figures        what came of it, as tables, JSON and PNG
"""
