"""Serving HTTP, for the engine and all services. Nothing here knows what is served, nor NATS.

Start with `api` if you write endpoints, with `connection` if you want to know what becomes of a connection.

1. `connection`: reads requests, under its limits and those of `output_budget`;
2. `forwarded`, `addresses` and `address_ranges`: whom a request comes from;
3. `api`: errors (as `problems`), tokens and correlation ids of an API; `bodies` and `json_input`: what clients send to
   it; `cors` and `api_page`: who may ask it from a page, and the page that shows it;
4. `health`: `/healthz`, `/readyz` and `/metrics`;
5. `listening`: the sockets that a server accepts connections on;
6. `guarded_fetch`: asking addresses that somebody else named.
"""
