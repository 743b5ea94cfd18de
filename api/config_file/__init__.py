"""YAML files that operators write: experiments.yaml and the file of keys.

document     a file's content as a pydantic model, or what is wrong with it, and where
watched      such a file, followed while it changes
strict_yaml  YAML that is read as it is written, or refused
"""
