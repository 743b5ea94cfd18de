"""Who may do what: callers' keys, off until EMOTION_KEYS_FILE names a file.

file      the file of keys: names, digests, scopes, limits
callers   whose key a request has, and what that one may do
guesses   an address that guesses keys has to wait
quotas    requests a second and at a time, by key
__main__  makes a key
"""
