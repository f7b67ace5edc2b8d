"""The Kodak lossless true color image suite: 24 photographs of 768x512 or 512x768."""

import hashlib
import http.client
import logging
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rdbench.datasets.base import Dataset, DatasetError, ImageError, Item
from rdbench.datasets.image_file import ImageFile
from rdbench.datasets.places import cache_folder, data_root
from rdcodecs import Image

BASE_URL = "https://r0k.us/graphics/kodak/kodak/"

_MOST_BYTES = 8 << 20  # the largest file has 0.8 MB
_TIMEOUT_S = 15.0  # of silence

_log = logging.getLogger(__name__)

PIXELS: Mapping[str, str] = {
    "kodim01.png": "a00210743353594464ac67e680a41710f484444ca5f9dfddeb570de25c428273",
    "kodim02.png": "ae5a495df4ec40e0941265440ccf98973915b4190ab803e37a23ca93dd43a07e",
    "kodim03.png": "234e61f585503f2a44400f5561131e8a512ef2c15328cd83d5cdbf10e2616cf2",
    "kodim04.png": "e88e788fca00e6c723bb66ff45edb8cb56091ee284dcb73e3909834f2c96eeb6",
    "kodim05.png": "ed3d1ee770909d3b27903b52ce19ee59a9bf24621a7bf1fb57b90677da880cb6",
    "kodim06.png": "7f45158999fa297d1cfbd292b3e2f3f5b27770701c3473155c211c3f512cc97f",
    "kodim07.png": "4e3664bf6fe865b49f15f7b554efa7dbecaf73ae0e8699f2e307bf07849f1264",
    "kodim08.png": "889c3740e4ed54ca53d11ae735a44d15fa24fe312b3bd1609a80618a4092c208",
    "kodim09.png": "f8453140e63a42301a6dbebb849a3cc40d34e4e59580eb1f372f7f5460df0dbe",
    "kodim10.png": "fabe11b5c4f028394e093a5b5907e5fabc8072da0d5334fb3a38547a7e1be842",
    "kodim11.png": "ab4dd9bf8431e717d33892b3ba03c63bfea3c7fa72c2610010de7df3c194c075",
    "kodim12.png": "f412db2168e599949aac26bd3264f111b23a684f30a21cfd320e9e95bc69bbae",
    "kodim13.png": "875703d56fb9396f478b5d7d3b18e2b77c17147a685c6dc2567e1c574aaf01e3",
    "kodim14.png": "2bd5029ee75ac1697542e5b05624e8afe186e3250abd7513d6a806b52084c2f0",
    "kodim15.png": "b5353e7511277009922ecbdebfc6418fec53aa1b2a08d44fc957a7540825697b",
    "kodim16.png": "ed21745fd32fce95cc2c6af7fc52b1b15e590c7a14ab18ab34bd65ecaf955ac7",
    "kodim17.png": "566bc866664e9b06dc86e2654051b454844efe17322dbf7e24156d8243f1943e",
    "kodim18.png": "3475af71066f3ca8206eb12cfc989ebe9c6e44820a96604e88ae018606e1f7bd",
    "kodim19.png": "7956408ef24222d37ac53f579bd24d5b2c3557b16c657e8b71c1b6ae9f18de1b",
    "kodim20.png": "666ce8f2db5566a123bb081e70618f6f4c4253df960f3b41bb9dcc3dd134f3cf",
    "kodim21.png": "2d6902daf7c4486b7c8c04d834091841a2b38c8f0c81cd7a963a6510b34a2a6a",
    "kodim22.png": "f430842120c108b67725ada96b8b7b2a914f6a0915eacd5595064c6c1a5d70a0",
    "kodim23.png": "81992a83592267e69125666f3e3e04c1819529b4c4c1e55fde0a6a741bac4219",
    "kodim24.png": "e3e3ccc3e795b82a3da66934409dfe98ce0f5aadc6d7767543c506453599bb98",
}
"""SHA-256 of each image's decoded RGB samples, row by row.

Of the pixels, not of the file, so that files compressed anew without loss count as the same images. They were
taken from files whose own SHA-256 are those which several public lists give for the files at r0k.us.
"""


@dataclass(frozen=True)
class KodakFile(ImageFile):
    """A Kodak image that is checked whenever it is read.

    Attributes:
        pixels: the SHA-256 that its RGB samples must have.
    """

    pixels: str

    def finish(self, image: Image) -> Image:
        """Return the image, or raise `ImageError` where it is another one."""
        if hashlib.sha256(image.tobytes()).hexdigest() != self.pixels:
            raise ImageError(f"these are not the pixels of the Kodak image: get the file from {BASE_URL}")
        return image


class KodakDataset(Dataset):
    """The 24 Kodak images.

    They are looked for in ``ROOT/kodak``, then in ROOT itself, then in the cache folder
    (`rdbench.cache.cache_root`), into which missing ones are downloaded.

    Args:
        root: the folder that holds datasets; `None` takes ``$RDBENCH_DATA``.
        base_url: where to download from; ends in a slash.
        pixels: the images, as file name → SHA-256 of the RGB samples.
    """

    name = "kodak"

    def __init__(
        self, root: Path | None = None, *, base_url: str = BASE_URL, pixels: Mapping[str, str] = PIXELS
    ) -> None:
        self.root = root
        self.base_url = base_url
        self.pixels = pixels

    def items(self) -> Sequence[Item]:
        """Return the images in the order of their numbers, after downloading what is missing.

        Raises:
            DatasetError: a folder holds some of the images only, or the download failed.
        """
        folder = self._local() or self._downloaded()
        return [KodakFile(folder / name, sha256).item(name) for name, sha256 in self.pixels.items()]

    def _local(self) -> Path | None:
        root = data_root(self.root)
        for folder in (root / "kodak", root) if root else ():
            missing = [name for name in self.pixels if not (folder / name).is_file()]
            if not missing:
                return folder
            if len(missing) < len(self.pixels):
                # An average over fewer images would still be called Kodak's.
                raise DatasetError(
                    f"'{folder}' lacks {len(missing)} of the {len(self.pixels)} Kodak images: "
                    f"add {', '.join(missing)} from {self.base_url}"
                )
        return None

    def _downloaded(self) -> Path:
        folder = cache_folder("kodak")
        missing = [name for name in self.pixels if not (folder / name).is_file()]
        if missing:
            _log.info("downloading %d Kodak images from %s to %s", len(missing), self.base_url, folder)
        for name in missing:
            self._download(name, folder)
        return folder

    def _download(self, name: str, folder: Path) -> None:
        url = self.base_url + name
        request = urllib.request.Request(url, headers={"User-Agent": "rdbench"})  # noqa: S310 - BASE_URL is https
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
                data = response.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise DatasetError(
                f"{url} cannot be downloaded ({reason}): put {next(iter(self.pixels))} and the others into a "
                "folder 'kodak' and set RDBENCH_DATA to the folder that holds it"
            ) from error
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Beside its goal and renamed once it is whole: no other process can see half a file.
            part = folder / f".{name}.{uuid.uuid4().hex}.part"
            try:
                part.write_bytes(data)
                KodakFile(part, self.pixels[name]).load()
                part.replace(folder / name)
            finally:
                part.unlink(missing_ok=True)
        except ImageError as error:
            raise DatasetError(f"what {url} gave is not the Kodak image: it fails the checksum") from error
        except OSError as error:
            raise DatasetError(f"cannot write to '{folder}': {error.strerror}") from error


def open_kodak(options: str, root: Path | None) -> KodakDataset:
    """Open ``kodak``."""
    if options:
        raise DatasetError(f"'kodak' has no option '{options}': to read another folder use folder:PATH")
    return KodakDataset(root)
