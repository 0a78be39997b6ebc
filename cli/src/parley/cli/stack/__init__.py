"""The one-command stack: `stack` starts the embedded servers, the services and the project's own, in this order."""
