"""A/B experiments: who gets which variant.

config       experiments.yaml and its errors
file         that file, followed while it changes
buckets      subjects to buckets, buckets to variants: exact shares, few that move
assignment   which variant a request is for
fallback     the control stands in for a variant that fails
breaker      one for each target, which spares a failing one the asking
shadow       targets that score the same faces, and how far apart the answers are
__main__     checks an experiments.yaml before it is applied
"""
