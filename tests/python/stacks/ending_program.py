"""A program that writes to each of some connections and ends at once.

Arguments: how it ends, host, port, bytes, connections.
"""

import asyncio
import sys
import threading

import sfloop

how, host, port, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
kept = []


async def main() -> None:
    for _ in range(count):
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
        assert transport.get_extra_info("stack") == "tcpip"
        transport.write(bytes(size))
        kept.append(transport)
        if how != "unclosed":
            transport.close()


if how == "run":
    asyncio.set_event_loop_policy(sfloop.Policy())
    asyncio.run(main())
elif how == "thread":
    loop = sfloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(main(), loop).result()
else:
    loop = sfloop.new_event_loop()
    loop.run_until_complete(main())
    if how != "exit":
        loop.close()
