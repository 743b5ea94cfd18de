"""Several finished networks as one.

combination  networks, views, weights and a temperature: what is served as one model
weights      how much each member counts
fit          weights and temperature by cross-validation; ensemble.json
report       what came of it
teacher      finished models as teachers of another one
opinions     what somebody else's network makes of each face, for a teacher
"""
