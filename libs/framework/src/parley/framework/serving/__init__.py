"""Runs behind a service: takes what gateways send and answers it. No adopter imports from here.

Start with `dispatcher`, which takes commands and hands them to `event_runner`. `gateway_responder` answers what
gateways ask about connections and rooms, with `held_connections`; `log_consumers` brings the events of chat's log.
"""
