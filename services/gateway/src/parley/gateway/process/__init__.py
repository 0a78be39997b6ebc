"""What the process needs besides its work.

`boot_clock` is a clock that nobody sets, `loop_monitor` notices stalls of the event loop, `gc_scheduling` collects
garbage in small portions, and `web_page` serves the page at `/`.
"""
