"""Versioned SavedModels for model_repository/.

export      writes and checks one
graph       what is in it
model_card  its README
"""
