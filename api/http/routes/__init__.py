"""The endpoints.

predict      the faces of one image, or of several
models       what the model server serves
experiments  which experiments run, and who gets which variant
feedback     what a face really showed
reports      which variant is better
health       probes and metrics
page         the page for people at /
"""
