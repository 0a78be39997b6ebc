"""Room events to connections: `cursor` and `local_room` are pure, `fanout` delivers, repairs and catches up."""
