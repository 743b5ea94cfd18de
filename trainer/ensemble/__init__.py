"""Several finished networks as one.

combination       networks, views, weights and a temperature: what is served as one model
weights           how much each member counts
cross_validation  weights and temperature, fitted and measured
saved             ensemble.json, and a run, as a combination
teacher           finished models as teachers of another one
opinions          what somebody else's network makes of each face, for a teacher
"""
