"""What was answered and what it should have been, in a database.

records     a prediction as it is recorded
ids         ids of predictions, which carry their time
writer      predictions, splits and counts into the database, without holding up an answer
counts      how many requests each variant was assigned, and of how many the prediction is stored
feedback    what people say about a face
retention   deletes what is past its time
subjects    forgets a subject
lifespan    opens and closes the outcomes of one gateway
store       reading and writing
tables      the schema
database    connections to SQLite or PostgreSQL
migrate     brings a database to this schema, or tells whether it has it
migrations  how, by Alembic
__main__    forgets a subject, from the command line
"""
