"""A network switch that loses packets and delivers them late, for kernels without netem. Linux, root.

    python -m benchmarks.chaos.switch INTERFACE INTERFACE ... [--loss 0.02] [--late 0.02] [--seed 0]

What arrives at one interface leaves at all others, as in a hub: packets for another machine are dropped there.
"""

import argparse
import heapq
import random
import select
import socket
import time
from contextlib import suppress

EVERY_PROTOCOL = 0x0003  # ETH_P_ALL of packet(7)
SOL_PACKET, VNET_HEADER, IGNORE_OUTGOING = 263, 15, 23  # of linux/if_packet.h
LARGEST = 1 << 17  # bytes: with the header, packets may be larger than frames, and lack their checksum


def opened(interface: str) -> socket.socket:
    """A socket of everything that arrives at `interface`, and that sends from there."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    found.setsockopt(SOL_PACKET, VNET_HEADER, 1)
    found.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
    found.bind((interface, 0))
    return found


def switch(interfaces: list[str], loss: float, late: float, chance: random.Random) -> None:
    """Forward for ever; loss: the share of packets that is lost; late: mean seconds that one is late."""
    ports = [opened(interface) for interface in interfaces]
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        for port in select.select(ports, [], [], wait)[0]:
            with suppress(OSError):  # the link is down
                packet = port.recv(LARGEST)
                if chance.random() >= loss:
                    count += 1
                    due = time.monotonic() + chance.uniform(0, 2 * late)
                    heapq.heappush(waiting, (due, count, ports.index(port), packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, source, packet = heapq.heappop(waiting)
            for i, port in enumerate(ports):
                if i != source:
                    with suppress(OSError):
                        port.send(packet)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("interfaces", nargs="+")
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    switch(given.interfaces, given.loss, given.late, random.Random(given.seed))


if __name__ == "__main__":
    main()
