"""Socket.IO on Engine.IO sessions: `packets` is pure, `server` takes what clients send and answers."""
