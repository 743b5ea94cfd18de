"""Which variant of an experiment is better. docs/experiments.md derives what is computed here.

counts        predictions and feedback, counted by variant
proportions   intervals and tests at one look
always_valid  intervals and tests at every look
split_check   whether the split is as it should be
advice        what to do
behind        counting, beside the requests that ask for it
report        all of it together
schema        its JSON
__main__      python -m api.reports: its tables
"""
