"""Where the shop's other parts are, from environment variables."""

from __future__ import annotations

import os
from typing import Final

VERSION: Final = "1.0.0"
DATABASE: Final = os.environ.get("DATABASE_URL", "postgresql://shop@127.0.0.1:5432/shop")
BROKER: Final = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/")
CACHE: Final = os.environ.get("CACHE_URL", "redis://127.0.0.1:6379/0")
CHECKOUT: Final = os.environ.get("CHECKOUT_URL", "http://127.0.0.1:8001")
INVENTORY: Final = os.environ.get("INVENTORY_URL", "http://127.0.0.1:8002")
PRICING: Final = os.environ.get("PRICING_URL", "https://127.0.0.1:8003")
#: Certificate that pricing shows, and that its callers trust.
CERTIFICATE: Final = os.environ.get("PRICING_CERTIFICATE", "pricing.pem")
EXCHANGE: Final = "order-events"
QUEUE: Final = "fulfilment"
#: Answer times of what the shop waits for outside of this machine, in seconds: the warehouse's terminal, the
#: robot that drives to a shelf, the service of exchange rates, the label printer.  All else is real.
TERMINAL_S: Final = 0.02
ROBOT_S: Final = 0.04
RATES_S: Final = 0.012
PRINTER_S: Final = 0.05
