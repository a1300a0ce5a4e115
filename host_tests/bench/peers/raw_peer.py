"""No library: a blocking socket, and packets that were made before. What the port itself takes."""

import socket
import sys

case, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket()
s.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
s.send(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw")
s.recv(4)
packet = b"\x00\x14greenhouse/7/temp/in"
if case == "pub0":
    packet = b"\x30\x34" + packet + b"x" * 30
    for _ in range(n):
        s.send(packet)
elif case == "pub1":
    packet = b"\x32\x36" + packet + b"\x00\x01" + b"x" * 30
    for _ in range(n):
        s.send(packet)
        s.recv(4)
elif case == "pub1x20":
    packet = b"\x32\x36" + packet + b"\x00\x01" + b"x" * 30
    for _ in range(n // 20):
        for _ in range(20):
            s.send(packet)
        left = 80
        while left:
            left -= len(s.recv(left))
else:
    size = int(case[4:]) + 24 + (int(case[4:]) > 100)
    s.send(b"\x82\x08\x00\x01\x00\x03abc\x00")
    s.recv(5)
    left = n * size
    while left:
        data = s.recv(min(left, 512))
        if not data:
            raise OSError("closed")
        left -= len(data)
s.send(b"\xe0\x00")
s.close()
