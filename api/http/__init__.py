"""What the gateway speaks: requests in, JSON and problems out.

routes           the endpoints, a file for each
schemas          the public JSON
rendering        results as that JSON
problems         whatever goes wrong as application/problem+json
uploads          images out of request bodies
forms            forms of files, and nothing that a client says about their text
json_body        the image in JSON
body_limit       how large a body may be
request_context  a request's id, its access log line and its count
canonical        HEAD, odd queries and redirects
dependencies     what endpoints make of a request before they run; the operators' key
state            what the lifespan made, and how endpoints ask for it by type
openapi          what FastAPI cannot tell of them by itself
"""
