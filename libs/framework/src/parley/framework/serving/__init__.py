"""Takes what gateways send to a service and answers it. Adopters import nothing from here.

The modules, in reading order:

1. `dispatcher`: takes commands and has them run in order, each as an `invocation`;
2. `event_runner`: runs middleware and controller by their `deadlines` and makes an `event_result` of the outcome;
3. `gateway_responder`: answers requests about connections and rooms, runs a `connection_lifetime` for each connection
   with middleware, and notices with `held_connections` that a gateway is gone;
4. `log_consumers`: takes the events of chat's log.
"""
