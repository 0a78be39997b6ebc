"""What services are written with: events and their controllers, contexts, middleware.

The modules, in reading order:

1. `router`: the table of a namespace's events, and `signatures`, which reads the controllers' annotations;
2. `context`: what controllers and packet middleware are given, with `connection_data` (`context.data`);
3. `middleware`, and `connection_context`, which connection middleware is given;
4. `room_log`: what a service offers whose rooms are logged.
"""
