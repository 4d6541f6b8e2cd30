"""Serve one colour at rtsp://127.0.0.1:PORT/camera until standard input ends.

Called as: rtsp_server.py PORT COLOUR, where port 0 takes a free one and the
colour is 0xRRGGBB. Prints the port once it listens.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402, the versions come first


def main() -> int:
    """Serve until the parent closes the pipe."""
    port, colour = sys.argv[1], int(sys.argv[2], 16)
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=solid-color foreground-color={0xFF000000 | colour}"
        " ! video/x-raw,width=96,height=64,framerate=25/1,format=I420"
        " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 threads=1"
        " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )
    factory.set_shared(True)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        return 1
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_HUP, lambda *_: loop.quit())
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
