"""The endpoints.

predict      the faces of one image, or of several
explain      what speaks for an emotion
classify     the annotated picture, as the tutorial's server answered
stream       the frames of a camera
models       what the model server serves
experiments  which experiments run, and who gets which variant
feedback     what a face really showed
reports      which variant is better
subjects     forgets a subject
health       probes and metrics
page         the page for people at /
"""

PREFIX = "/v1"
"""Of the API's paths. Without it they are aliases."""
