"""Whether a picture is what its data set says. Pure, but not imported by the rest of the contract: it needs Pillow."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, UnidentifiedImageError

from events.types.dice import DiceImage

PICTURE_BYTES_MAX: Final = 64 * 1024**2
PICTURE_PIXELS_MAX: Final = 100_000_000
_FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""Some of Pillow's others start programs (EPS) or read further files."""
_SMALLEST: Final = (1, 1)


def picture_fault(raw: bytes, image: DiceImage) -> str | None:
    """Why a picture cannot be used, or None. It is decoded to its end: a header alone says nothing of the rest."""
    if len(raw) > PICTURE_BYTES_MAX:
        return f"the picture has more than {PICTURE_BYTES_MAX} bytes"
    try:
        with Image.open(io.BytesIO(raw), formats=_FORMATS) as picture:
            size = (picture.width, picture.height)
            if size[0] * size[1] > PICTURE_PIXELS_MAX:
                return f"the picture is a decompression bomb: {size[0]} x {size[1]} pixels"
            if size != (image.width, image.height):
                return f"the picture is {size[0]} x {size[1]}, the annotations say {image.width} x {image.height}"
            # JPEG is decoded at an eighth of its size, which still reads all of its bytes.
            picture.draft(None, _SMALLEST)
            picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "the picture is a decompression bomb"
    except MemoryError:
        raise
    except UnidentifiedImageError:
        return "the picture cannot be opened: it is none of " + ", ".join(_FORMATS)
    except Exception as error:  # a decoder that is fed broken bytes raises whatever went wrong in it
        return f"the picture cannot be opened: {error}"
    return None
