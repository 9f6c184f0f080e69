"""JPEG XL for Pillow, by pylibjxl (libjxl), the extra `jxl`. Importing this module registers it.

Its size is read from the header alone, so that too large images are refused before they are decoded. libjxl turns an
image upright as its header says (ISO/IEC 18181-1), and the EXIF orientation that may stand beside it must then be
ignored (ISO/IEC 18181-2). Of an animation the first frame is read, of more than 8 bits the high ones.
"""

from typing import Any

from PIL import Image, ImageFile
from pylibjxl.pillow_plugin import JxlImageFile, _accept

FORMAT = "JXL"


class UprightJxl(JxlImageFile):
    """Without the orientation that libjxl has applied."""

    def _open(self) -> None:
        super()._open()
        self.tile = [ImageFile._Tile(*tile) for tile in self.tile]
        self.info["bit_depth"] = self.info.get("bits_per_sample", 8)

    def load(self) -> Any:
        found = super().load()
        self.info.pop("exif", None)
        return found


Image.register_open(FORMAT, UprightJxl, _accept)
