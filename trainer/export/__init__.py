"""Versioned SavedModels for model_repository/, and single files for devices.

version     writes, checks and numbers one
graph       what is in it
model_card  its README
portable    ONNX and LiteRT
"""
