"""What was answered and what it should have been, in a database.

records     a prediction as it is recorded
ids         ids of predictions, which carry their time
writer      records and splits into the database, without holding up an answer
counts      how many requests each variant was given
feedback    the outcomes of one gateway: recording, feedback, retention
store       reading and writing
tables      the schema
database    connections to SQLite or PostgreSQL
migrate     brings a database to this schema
migrations  how, by Alembic
"""
