"""Small videos to read: each frame has one grey value, which says which frame it is."""

import numpy as np


def write_video(path, greys, height=24, width=40, rate=10):
    """Write frames of these grey values (bytes) as a lossless video; the left quarter of each is black."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for grey in greys:
            pixels = np.full((height, width, 3), grey, np.uint8)
            pixels[:, : width // 4] = 0
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
