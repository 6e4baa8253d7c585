"""The worker: packs what was ordered, one message an order.

It packs several orders at once, for most of the time it waits for the label printer.  As the slow consumer
it takes one message at a time (a prefetch of 1), which is enough for a small shop.
"""

from __future__ import annotations

import asyncio
import json
import signal

import aio_pika
import asyncpg
import uvloop
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from shop import clients, settings, switches, telemetry

AT_ONCE = 16


async def _consume(channel: AbstractChannel, queue: AbstractQueue, pool: asyncpg.Pool, stop: asyncio.Event):
    """Take messages until told to stop; the prefetch follows the switch."""

    async def pack(message: AbstractIncomingMessage) -> None:
        order = json.loads(message.body)["order"]
        await pool.execute("UPDATE orders SET state = 'packed' WHERE id = $1", order)
        await asyncio.sleep(settings.PRINTER_S)
        await pool.execute("INSERT INTO shipments (order_id) VALUES ($1) ON CONFLICT DO NOTHING", order)
        await message.ack()

    slow: bool | None = None
    tag: str | None = None
    while not stop.is_set():
        if slow != switches.is_on("slow-consumer"):
            slow = switches.is_on("slow-consumer")
            if tag is not None:
                await queue.cancel(tag)
            await channel.set_qos(prefetch_count=1 if slow else AT_ONCE)
            tag = await queue.consume(pack)
        try:
            await asyncio.wait_for(stop.wait(), 0.25)
        except TimeoutError:
            continue


async def main() -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    provider = telemetry.start("worker")
    pool = await clients.database()
    async with await aio_pika.connect_robust(settings.BROKER) as broker:
        channel = await broker.channel()
        exchange = await channel.declare_exchange(settings.EXCHANGE, durable=True)
        queue = await channel.declare_queue(settings.QUEUE, durable=True)
        await queue.bind(exchange, "placed")
        print("worker is ready", flush=True)
        await _consume(channel, queue, pool, stop)
    await pool.close()
    provider.shutdown()


if __name__ == "__main__":
    uvloop.run(main())
