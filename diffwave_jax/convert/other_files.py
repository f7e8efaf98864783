"""What a file is that is no checkpoint: people give pages that asked them to log in, and pointers to large files."""

import re

STARTS = (  # what a file begins with, and what it then is
    (b"version https://git-lfs", "a Git LFS pointer{size}, not the file itself: fetch it with `git lfs pull`"),
    (b"<", "a web page{title}, not a checkpoint: open the link in a browser, and save the file that it leads to"),
    (b"{", "text in JSON, not a checkpoint: give the file of weights beside it"),
    (b"\x1f\x8b", "packed by gzip: unpack it first"),
    (b"BZh", "packed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "packed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes, not PyTorch's"),
    (b"\x93NUMPY", "an array of NumPy, not PyTorch's"),
    (b"RIFF", "audio, not a checkpoint"),
    (b"GGUF", "a GGUF file, not PyTorch's"),
)
TAR = (257, b"ustar")


def what_it_is(head: bytes, file_size: int) -> str:
    """A sentence that names a file by its first bytes, and says what to do."""
    if file_size == 0:
        return "it is empty: copy or download it again"
    if head[TAR[0] :].startswith(TAR[1]):
        return "it is a tar archive: unpack it, and give the checkpoint inside"
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    for start, name in STARTS:
        if text.startswith(start):
            return f"it is {name.format(size=_pointed_size(head), title=_title(head))}"
    return (
        f"it begins with {head[:16]!r}, neither a zip archive nor PyTorch's old format nor safetensors: give a file "
        "that torch.save or safetensors wrote"
    )


def _pointed_size(head: bytes) -> str:
    found = re.search(rb"\nsize (\d{1,15})\n", head)
    return f" to {int(found[1]):,} bytes" if found else ""


def _title(head: bytes) -> str:
    found = re.search(rb"<title>([^<]{1,80})", head, re.IGNORECASE)
    return f" ({found[1].decode(errors='replace').strip()!r})" if found else ""
