"""Socket.IO (protocol revision 5) on Engine.IO sessions.

Read `packets` (pure), then `attempt` and `client` (what is known of a client that is joining and has joined a
namespace) and `unjoined` (who has joined none in time), then `server`, which takes what clients send, cheapest check
first, and answers them.
"""
