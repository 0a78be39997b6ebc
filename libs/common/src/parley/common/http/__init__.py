"""Serving HTTP, for the engine and all services. Nothing here knows what is served, nor NATS.

1. `server`: reads requests, under the limits of `gate`; `upgrade_request` reads most WebSocket requests at once;
2. `forwarded` and `addresses`: whom a request comes from;
3. `api`: errors, tokens and correlation ids of an API; `bodies` and `json_input`: what clients send to it;
4. `health`: `/healthz`, `/readyz` and `/metrics`;
5. `listening`: the sockets that a server accepts connections on.
"""
