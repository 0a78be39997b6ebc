"""What the process needs beside its work: garbage collection in portions, the web page."""
