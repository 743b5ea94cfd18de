"""Several networks as one.

combination  members, weights and a temperature: what is served as one model
weights      how much each member counts
fit          weights and temperature by cross-validation
report       what came of it
teacher      finished models as teachers of another one
"""
