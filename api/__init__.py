"""The HTTP gateway: a photo in, the emotions of every face out. It never imports TensorFlow.

__main__     python -m api
app          the application, put together
http         requests and answers
stream       camera streams
predictor    the steps of a prediction
model        the model server's client
experiments  A/B tests of model versions
keys         who may do what
circuit_breaker  leaves alone what keeps failing
config_file  YAML files that operators write
outcomes     what was answered, in a database
reports      which variant is better
pictures     the photo with what was found in it
observe      metrics, traces, logs
settings     EMOTION_* of the environment
addresses    of model servers and databases, checked
errors       what can go wrong, with its HTTP status
server       uvicorn, and how it stops
protocol     HTTP on one connection, and what a peer may not do there
websocket    WebSockets on one connection
workers      threads that decode and detect
deadline     how long a request may take
web          the page for people
samples      photos to try
"""
