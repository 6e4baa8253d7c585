"""A small shop: gateway, checkout, inventory, pricing and a worker, each a process of its own.

    load ─► gateway ─┬─► checkout ─┬─► pricing ──► Redis, PostgreSQL
                     │             ├─► inventory ─► PostgreSQL
                     ├─► inventory ├─► PostgreSQL, Redis
                     └─► pricing   └─► RabbitMQ ──► worker ─► PostgreSQL

Instrumented as a team would do it, by public `opentelemetry-instrumentation-*` packages alone: nothing
here knows tracescope.  Each service reads its surroundings from environment variables (`settings`) and
what is wrong with it today from a file of switches (`switches`).
"""
