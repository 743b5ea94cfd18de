"""Which variant of an experiment is better.

counts        predictions and feedback, counted by variant
proportions   intervals and tests at one look
always_valid  intervals and tests at every look
split_check   whether the split is as it should be
advice        what to do
report        all of it together
schema        its JSON
html          its page
plots         the plots on that
__main__      python -m api.reports
"""
