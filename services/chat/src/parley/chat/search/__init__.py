"""Finding messages by their words, in Postgres.

Read `terms` (a text as the terms that are looked up, pure), `parsed_query` (what was asked for, pure), `term_index`
(which keeps the table `chat.search`, as a consumer of the log), and `finder` (which answers) with `search_statements`.
"""
