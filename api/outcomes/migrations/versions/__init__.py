"""One module per revision.

r0001_outcomes  the first tables
"""
