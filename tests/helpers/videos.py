"""Short videos with sound, where PyAV is installed."""

from fractions import Fraction

import numpy as np

from tests.helpers.photographs import smooth_photograph

RATE = Fraction(24000, 1001)


def film(path, *, count=8, late=0, codec="aac"):
    """A video of a slow pan with sound; frames from the sixth on are late by so many."""
    import av

    wide = smooth_photograph(48, 64 + count)
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("libx264", rate=RATE)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream(codec, rate=16000)
        for number in range(count):
            pixels = np.ascontiguousarray(wide[:, number : number + 64])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number + late * (number > 4), 1 / RATE
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        wave = np.rint(9000 * np.sin(np.arange(5120) / 20))[None].astype(np.int16)
        heard = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        heard.sample_rate, heard.pts = 16000, 0
        out.mux(sound.encode(heard))
        out.mux(sound.encode(None))
    return wide


def sound_of(path):
    """Time and bytes of each packet of a video's sound."""
    import av

    with av.open(str(path)) as file:
        return [(p.pts, bytes(p)) for p in file.demux(file.streams.audio[0]) if p.size]
