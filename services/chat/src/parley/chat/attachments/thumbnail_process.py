"""Makes a thumbnail of the image on standard input: a process of its own, since decoders of images have had holes.

`python -m parley.chat.attachments.thumbnail_process FORMAT MOST_PIXELS`. What is written to standard output is a line
with the image's width and height as it is to be seen, and a WebP. An image is refused by its head, before a pixel of it
is decoded, if it has too many of them: a picture of 100 KB may stand for gigabytes.

| exit code | means |
|---|---|
| 0 | the thumbnail is written |
| 3 | it has too many pixels |
| any other | it is no image of that format, or was too much for the limits of the process |
"""

from __future__ import annotations

import io
import resource
import sys

WIDTH, HEIGHT, QUALITY = 960, 400, 75
MEMORY = 1024 * 1024 * 1024
"""Bytes of addresses that the process may have."""
CPU_SECONDS = 10
TOO_MANY_PIXELS = 3
ORIENTATION = 0x0112


def main(kind: str, most_pixels: int) -> int:
    """Make the thumbnail. Returns the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # After the limits, so that they hold for all that it does.
    from PIL import Image, ImageOps  # noqa: PLC0415

    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and stricter
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=(kind,)) as image:
        width, height = image.size
        if width * height > most_pixels:
            return TOO_MANY_PIXELS
        # A photograph may lie on its side, and say so; from 5 on its width is its height.
        if image.getexif().get(ORIENTATION, 1) > 4:
            width, height = height, width
        # A JPEG is decoded at a fraction of its size.
        image.draft("RGB", (2 * WIDTH, 2 * WIDTH))
        seen = ImageOps.exif_transpose(image)
        seen.thumbnail((WIDTH, HEIGHT))
        small = seen if seen.mode in {"RGB", "RGBA"} else seen.convert("RGBA" if seen.has_transparency_data else "RGB")
        written = io.BytesIO()
        # Nothing of the original's notes, such as where it was taken, is passed on.
        small.save(written, "WEBP", quality=QUALITY, exif=b"", icc_profile=b"")
    sys.stdout.buffer.write(b"%d %d\n" % (width, height) + written.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
