"""What the process needs beside its work: garbage collection in portions, noticing its own stalls, the web page."""
