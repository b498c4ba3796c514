"""What a file is that is no image which is read: told by its first bytes."""

from __future__ import annotations

import re

_RAW = "develop it and export it as JPEG, PNG or TIFF"
_CONVERT = "convert it to JPEG or PNG"
_IPHONE = " (iPhones take JPEGs where Settings, Camera, Formats says Most Compatible)"
_FRAMES = "extract its frames as JPEG or PNG"
_TEXT = "it was saved in place of the image; download the image again"
# Brands of ISO media files (their bytes 8 to 12), which begin with the length of "ftyp".
_BRANDS = {
    b"avif avis": ("an AVIF image", _CONVERT),
    b"heic heix hevc hevx heim heis mif1 msf1": ("a HEIC photo", _CONVERT + _IPHONE),
    b"crx ": ("a RAW photo (CR3)", _RAW),
    b"jxl ": ("a JPEG XL image", _CONVERT),
}
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", _CONVERT),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image", _CONVERT),
    (rb"\xff\xd8\xff\xf7", "a JPEG-LS image", _CONVERT),
    (rb"(II\*\0|MM\0\*).{4}CR", "a RAW photo (CR2)", _RAW),
    (rb"FUJIFILMCCD-RAW", "a RAW photo (RAF)", _RAW),
    (rb"IIR[OS]|MMOR", "a RAW photo (ORF)", _RAW),
    (rb"IIU\0", "a RAW photo (RW2)", _RAW),
    (rb"FOVb", "a RAW photo (X3F)", _RAW),
    (rb"(II\+\0|MM\0\+)", "a BigTIFF image", "save it as an ordinary TIFF or PNG"),
    (rb"8BPS", "a Photoshop document", "export it as PNG"),
    (rb"gimp xcf", "a GIMP document", "export it as PNG"),
    (rb"%PDF", "a PDF document", "export its pages as PNG"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document", "export its pages as PNG"),
    (rb"\x76\x2f\x31\x01", "an OpenEXR image", _CONVERT),
    (rb"#\?(RADIANCE|RGBE)", "a Radiance HDR image", _CONVERT),
    (rb".{128}DICM", "a DICOM file", "export its picture as PNG"),
    (rb"SIMPLE  =", "a FITS file", "export its picture as PNG or TIFF"),
    (rb"\0\0[\x01\x02]\0[^\0]", "an icon", _CONVERT),
    (rb"DDS ", "a DDS texture", _CONVERT),
    (rb"\x93NUMPY", "a NumPy array", "save it as PNG, which Pillow's Image.fromarray does"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", "export its pictures as PNG"),
    (rb"MATLAB", "a MATLAB file", "export its pictures as PNG"),
    (rb"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)", _FRAMES),
    (rb"RIFF.{4}AVI ", "a video (AVI)", _FRAMES),
    (rb"\0\0\x01[\xb3\xba]|G.{187}G", "a video (MPEG)", _FRAMES),
    (rb"FLV|OggS|\x30\x26\xb2\x75", "a video", _FRAMES),
    (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf|\xfd7zXZ|BZh", "an archive", "unpack it"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "run git lfs pull to have the image"),
    (
        rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<svg",
        "an SVG drawing",
        "export it as PNG",
    ),
    (rb"(?i)\s*(<!DOCTYPE html|<html|<head)", "a web page", _TEXT),
    (rb"\s*<\?xml", "an XML file", "give the image itself"),
    (rb"\s*[{\[]\s*[\"{\[\d]", "a JSON file", "give the image itself"),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL), kind, advice) for pattern, kind, advice in _KINDS]
# Formats that are read begin like text.
_IMAGE = re.compile(rb"GIF8|BM|RIFF|P[1-7Ff]\s")
# Comments and such stand before what tells.
_READ = 4096
# Endings of pictures and of videos that lie among images and aren't read; what they are is told
# when one is opened.
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jxl", ".psd", ".svg", ".pdf", ".exr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".raf", ".rw2", ".pef"),
    *(".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp"),
)


def describe_file(data: bytes) -> tuple[str, str]:
    """Names the kind of a file that isn't read as an image.

    Returns:
      What it is, such as "a HEIC photo", and what to do; ("", "") if that isn't known.
    """
    head = data[:_READ].removeprefix(b"\xef\xbb\xbf")
    if head[4:8] == b"ftyp":
        # The main brand, then compatible ones: a HEIC's may be mif1, and an AVIF's, too.
        length = min(int.from_bytes(head[:4], "big"), len(head))
        named = [head[8:12], *(head[i : i + 4] for i in range(16, length, 4))]
        for brands, found in _BRANDS.items():
            if any(brand in brands for brand in named if len(brand) == 4):
                return found
        return "a video (MP4 or MOV)", _FRAMES
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "a video (MOV)", _FRAMES
    for pattern, kind, advice in _PATTERNS:
        if pattern.match(head):
            return kind, advice
    if _is_text(head) and not _IMAGE.match(head):
        return "a text file", "give the image itself"
    return "", ""


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8") if len(head) < _READ else head.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)
