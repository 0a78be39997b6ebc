"""Socket.IO (protocol revision 5) on Engine.IO sessions.

To be read in this order: `packets`, pure; `attempt` and `client`, what is known of a client that joins and has joined;
`server`, which takes what clients send, cheapest check first, and answers them.
"""
