"""The command `emotion`.

app         what it is made of
connection  --url and --key
predict     photos, folders, patterns
rows        the columns of its CSV
video       a video with its faces marked, a table, a picture over time
compare     two models on the same photos
service     models, health, report
"""
