"""What the gateway speaks: requests in, JSON and problems out.

routes            the endpoints, a file for each
schemas           the public JSON
rendering         results as that JSON
pictures          results as pictures
negotiation       what a client wants to get
problems          whatever goes wrong as application/problem+json
uploads           images out of request bodies
forms             forms of files, and nothing that a client says about their text
json_body         the image in JSON, and small documents
body_limit        how large a body may be, how slow, and how much all may hold
callers           who sent a request, and what that one may do
security_headers  what a browser may do with an answer
request_context   a request's id, its access log line and its count
canonical         HEAD, odd queries and redirects
dependencies      what endpoints make of a request before they run
state             what the lifespan made, and how endpoints ask for it by type
openapi           what FastAPI cannot tell of them by itself
"""
