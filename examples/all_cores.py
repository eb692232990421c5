"""One program on all cores: a process for each, and the system hands every connection to one of them.

    python all_cores.py [PORT [PROCESSES]]

A process that dies takes its own connections along and no others, and another one takes its place. Ctrl-C and SIGTERM
shut all of them down in good order. For Linux: elsewhere the system does not share connections out so well, or not at all.
"""

import os
import signal
import sys
import time
from multiprocessing import Process
from multiprocessing.connection import wait

from websocketstream import WebSocketListener, WebSocketRequest, run_server


async def echo(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn.messages():
            await conn.send(f"process {os.getpid()}: {message!r}")


def say_so(listener: WebSocketListener) -> None:
    print(f"process {os.getpid()} is listening on {listener.url}", flush=True)


def work(port: int) -> None:
    os.setpgrp()  # Ctrl-C is for the parent, which tells us in its own way
    run_server(echo, "127.0.0.1", port, origins=[None], reuse_port=True, on_start=say_so)


def start(port: int) -> Process:
    process = Process(target=work, args=[port])
    process.start()
    return process


def main(port: int = 8765, count: int = 0) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which is what Ctrl-C does
    processes = [start(port) for _ in range(count or os.cpu_count() or 1)]
    try:
        while True:
            wait([process.sentinel for process in processes])
            time.sleep(0.2)  # or one that cannot even start would start again and again
            processes = [each if each.is_alive() else start(port) for each in processes]
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
