"""The command `emotion`.

app         what it is made of
connection  --url, --key and what else several have
extra       what a command imports when it runs
local       --local: a service for as long as a command runs
predict     photos, folders, patterns
rows        the columns of its CSV
video       a video with its faces marked, a table, a picture over time
compare     two models on the same photos
service     models, health, report
"""
