"""What the gateway speaks: requests in, JSON and problems out.

routes        the endpoints, a file for each
schemas       the public JSON
rendering     results as that JSON
problems      whatever goes wrong as application/problem+json
uploads       images out of request bodies
forms         forms of files, and nothing that a client says about their text
json_body     the image in JSON
middleware    request ids, the access log, limits of bodies
canonical     HEAD, odd queries and redirects
dependencies  what endpoints ask for by type; the operators' key
openapi       what FastAPI cannot tell of them by itself
"""
