"""The stage on which the shop grows: starts every part, makes load and growth, and checks what is found.

run.py ─► preflight ─► supervisor ─► parts       PostgreSQL, RabbitMQ, Redis, Collector, tracescope, services
                          └► reaper              ends what a killed supervisor would leave
          growth, load, starve ─► the shop       more users and data; requests in waves; a CPU limit
          scenarios ─► check ─► README           what is found against what was made
"""
