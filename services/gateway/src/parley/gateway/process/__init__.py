"""What the process needs beside its work: garbage in portions, a clock that nobody sets, its own stalls, the page."""
