"""What does decoding one photo take, at worst? Peak memory above idle and milliseconds, by format, mode and size.

    python -m benchmarks.memory [--only WORD] [--megapixels 12 25]

Each photo is decoded in a process of its own, as the gateway decodes it, with the default limits. Where a format's own
limit is lower, the largest picture within it is taken. The estimate is what `faces.decode.estimate` tells from the
header. Milliseconds are a processor's. Linux only: the kernel counts the peak.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from faces.decode import estimate, isobmff, read
from faces.errors import TooLarge

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"max_bytes": 10 * 2**20, "max_pixels": 25_000_000}
SIDE = 1920

CHILD = """
import json, re, sys, time
from pathlib import Path
from benchmarks.memory import LIMITS, SIDE
from faces.decode import read

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small = read(Path(sys.argv[2]).read_bytes(), **LIMITS)
small.decode(1)
idle = kilobytes("VmRSS")
# Forgets the peak so far.
Path("/proc/self/clear_refs").write_text("5")
content = Path(sys.argv[1]).read_bytes()
start = time.process_time()
photo = read(content, **LIMITS)
scale = photo.scale(SIDE)
photo.decode(scale)
milliseconds = 1000 * (time.process_time() - start)
print(json.dumps({"scale": scale, "mib": (kilobytes("VmHWM") - idle) / 1024, "ms": milliseconds}))
"""

Encode = Callable[[Image.Image], bytes]


def texture(width: int, height: int) -> Image.Image:
    """Detail above, plain below: a photo's bytes, and within the limit of bytes at 25 megapixels."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 48 + 1, width // 16 + 1, 3), np.uint8)
    pixels = np.full((height, width, 3), 120, np.uint8)
    pixels[: height // 3] = cv2.resize(noise, (width, height // 3), interpolation=cv2.INTER_CUBIC) & 0xF8
    return Image.fromarray(pixels)


def saved(kind: str, mode: str, **options: Any) -> Encode:
    def encode(image: Image.Image) -> bytes:
        file = BytesIO()
        converted = image.convert(mode)
        if mode in ("RGBA", "LA"):
            converted.putalpha(image.getchannel(0))
        converted.save(file, kind, **options)
        return file.getvalue()

    return encode


def by_opencv(extension: str, dtype: type, channels: int) -> Encode:
    """16 bits a channel, which Pillow does not write."""

    def encode(image: Image.Image) -> bytes:
        pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).astype(dtype) * 256
        return cv2.imencode(extension, pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()

    return encode


def cases() -> Iterator[tuple[str, Encode]]:
    for mode in ("L", "RGB", "CMYK"):
        yield f"JPEG {mode}", saved("JPEG", mode, quality=75)
    yield "JPEG RGB 4:4:4", saved("JPEG", "RGB", quality=75, subsampling=0)
    for name, options in (("4:2:0", {}), ("4:4:4", {"subsampling": 0})):
        yield f"JPEG RGB progressive {name}", saved("JPEG", "RGB", quality=75, progressive=True, **options)
    yield "JPEG CMYK progressive", saved("JPEG", "CMYK", quality=50, progressive=True)
    for mode in ("1", "L", "P", "RGB", "LA", "RGBA"):
        yield f"PNG {mode}", saved("PNG", mode, compress_level=1)
    for channels, name in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        yield f"PNG {name} 16 bits", by_opencv(".png", np.uint16, channels)
    yield "WebP RGB", saved("WEBP", "RGB", quality=50, method=0)
    yield "WebP RGBA", saved("WEBP", "RGBA", quality=50, method=0, alpha_quality=20)
    yield "WebP RGB lossless", saved("WEBP", "RGB", lossless=True, method=0, quality=0)
    yield "WebP RGBA lossless", saved("WEBP", "RGBA", lossless=True, method=0, quality=0)
    for mode, subsampling in (("RGB", "4:2:0"), ("RGB", "4:4:4"), ("RGBA", "4:2:0")):
        yield f"AVIF {mode} {subsampling}", saved("AVIF", mode, quality=40, speed=10, subsampling=subsampling)
    if isobmff.HEIC:
        yield "HEIC RGB", saved("HEIF", "RGB", quality=40)
        yield "HEIC RGBA", saved("HEIF", "RGBA", quality=40)
    yield "GIF P", saved("GIF", "P")
    for mode in ("1", "P"):
        yield f"BMP {mode}", saved("BMP", mode)


def within_limits(encode: Encode, megapixels: float) -> tuple[bytes, str]:
    """A file of that many pixels, or of as many as its format may have; and what was refused."""
    refused = ""
    while True:
        width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
        content = encode(texture(width, round(width * 3 / 4)))
        try:
            read(content, **LIMITS)
        except TooLarge as error:
            refused = refused or error.detail
            share = error.members["limit"] / error.members["size"]
            megapixels *= min(0.99 * share, 0.99)
        else:
            return content, refused


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 25])
    arguments = parser.parse_args()
    titles = ("MP", "MB", "1 /", "peak MiB", "estimate", "ms", "estimate")
    print(" " * 28, *(f"{title:>8}" for title in titles))
    with tempfile.TemporaryDirectory() as folder:
        big, small = Path(folder, "big"), Path(folder, "small")
        for name, encode in cases():
            if arguments.only.lower() not in name.lower():
                continue
            small.write_bytes(encode(texture(64, 48)))
            for megapixels in arguments.megapixels:
                content, refused = within_limits(encode, megapixels)
                big.write_bytes(content)
                command = [sys.executable, "-c", CHILD, str(big), str(small)]
                done = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)
                cost = estimate(content, SIDE)
                numbers = (
                    f"{cost.pixels / 1e6:.1f}",
                    f"{len(content) / 1e6:.2f}",
                    done["scale"],
                    f"{done['mib']:.1f}",
                    f"{cost.memory / 2**20:.1f}",
                    f"{done['ms']:.0f}",
                    f"{cost.milliseconds:.0f}",
                )
                print(f"{name:28}", *(f"{number:>8}" for number in numbers), refused, flush=True)


if __name__ == "__main__":
    main()
