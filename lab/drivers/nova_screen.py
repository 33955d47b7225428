"""What an instance of the fake hypervisor shows: a VNC screen (RFB 3.8, RFC 6143) and a serial line, on ports of its own.

It becomes ``nova.virt.lab_screen``. The screen is grey and is named after the instance; the line says the same and
repeats what it is sent. So a console can be followed to its end, and which instance is at the end can be seen.
"""

import socket
import struct
import threading
from collections.abc import Callable

WIDTH, HEIGHT = 64, 48
_PIXELS = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
_AFTER_TYPE = {0: 19, 3: 9, 4: 7, 5: 5}
"""Bytes of a client's message after its type: SetPixelFormat, FramebufferUpdateRequest, KeyEvent, PointerEvent."""

_ports: dict[tuple[str, str], int] = {}
_opening = threading.Lock()


def port(kind: str, instance: str) -> int:
    """The port of an instance's ``vnc`` or ``serial`` console; it listens from the first time it is asked for."""
    with _opening:
        if (kind, instance) not in _ports:
            listener = socket.create_server(("127.0.0.1", 0))
            _ports[kind, instance] = int(listener.getsockname()[1])
            serve = {"vnc": _screen, "serial": _line}[kind]
            threading.Thread(target=_accept, args=(listener, serve, instance), daemon=True).start()
        return _ports[kind, instance]


def _accept(listener: socket.socket, serve: Callable[[socket.socket, str], None], instance: str) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_served, args=(connection, serve, instance), daemon=True).start()


def _served(connection: socket.socket, serve: Callable[[socket.socket, str], None], instance: str) -> None:
    with connection:
        try:
            serve(connection, instance)
        except OSError:  # the client went away, in whatever way
            return


def _line(connection: socket.socket, instance: str) -> None:
    connection.sendall(f"serial line of {instance}\r\n".encode())
    while data := connection.recv(4096):
        connection.sendall(data)


def _screen(connection: socket.socket, instance: str) -> None:
    connection.sendall(b"RFB 003.008\n")
    _take(connection, 12)
    connection.sendall(b"\x01\x01")  # one security type: none
    _take(connection, 1)
    connection.sendall(bytes(4))  # accepted
    _take(connection, 1)
    name = instance.encode()
    connection.sendall(struct.pack(">HH", WIDTH, HEIGHT) + _PIXELS + struct.pack(">I", len(name)) + name)
    while True:
        kind = _take(connection, 1)[0]
        if kind == 2:  # SetEncodings
            _take(connection, 4 * struct.unpack(">xH", _take(connection, 3))[0])
        elif kind == 6:  # ClientCutText
            _take(connection, struct.unpack(">xxxI", _take(connection, 7))[0])
        elif kind in _AFTER_TYPE:
            _take(connection, _AFTER_TYPE[kind])
            if kind == 3:
                head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0)
                connection.sendall(head + b"\x80" * (4 * WIDTH * HEIGHT))
        else:
            return


def _take(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data
