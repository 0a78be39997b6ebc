"""What every process has. Nothing here knows NATS or HTTP.

1. `settings`: read from the environment;
2. `logs`: structured lines, whose size `log_limits` bounds; `outage_log`: one line per outage;
3. `tasks`: background tasks that somebody owns;
4. `dead_peers`: TCP options for connections to databases and brokers.
"""
