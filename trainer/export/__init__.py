"""Versioned SavedModels for model_repository/.

version     writes, checks and numbers one
graph       what is in it
model_card  its README
"""
