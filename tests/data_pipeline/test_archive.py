import gzip
import io
import os
import tarfile
import time
import zipfile

import pytest

from diffwave_jax.data.archive import content_key, open_files
from diffwave_jax.errors import UserError
from tests.helpers.audio_files import pack
from tests.helpers.fuzz_archives import fuzz


def everything(name):
    return True


def is_wav(name):
    return name.endswith(".wav")


@pytest.fixture
def root(tmp_path):
    files = {"a/1.wav": b"one", "a/2.wav": b"two", "b.txt": b"text", ".hidden": b"", "a/._1.wav": b"attributes"}
    for name, content in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "root"


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def contents(files):
    return {name: path.read_bytes() for name, path in files.paths.items()}


def tar(path, *members, mode="w"):
    """A tar of (name, content or TarInfo fields) members."""
    with tarfile.open(path, mode) as archive:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                archive.addfile(info, io.BytesIO(what))
            else:
                for field, value in what.items():
                    setattr(info, field, value)
                archive.addfile(info)
    return path


@pytest.mark.parametrize("prefix", ["", "./"])
def test_unpacks_wanted_files(root, tmp_path, scratch, prefix):
    archive = pack(root, tmp_path / "x.tar.gz", prefix)
    assert contents(open_files(archive, is_wav, scratch)) == {"a/1.wav": b"one", "a/2.wav": b"two"}


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_unpacks_a_zip(root, tmp_path, scratch, separator):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a")
        for path in sorted(root.rglob("*.*")):
            if path.is_file():
                archive.writestr(path.relative_to(root).as_posix().replace("/", separator), path.read_bytes())
    assert contents(open_files(tmp_path / "x.zip", is_wav, scratch)) == {"a/1.wav": b"one", "a/2.wav": b"two"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_each_compression(tmp_path, scratch, mode):
    archive = tar(tmp_path / "x", ("a.wav", b"one"), mode=mode)
    assert contents(open_files(archive, is_wav, scratch)) == {"a.wav": b"one"}


def test_a_folder_is_left_where_it_is(root, scratch):
    files = open_files(root, everything, scratch)
    assert files.paths == {name: root / name for name in ("a/1.wav", "a/2.wav", "b.txt")}
    assert not list(scratch.iterdir())


def test_nothing_is_written_outside_the_scratch_folder(root, tmp_path, scratch):
    archive = pack(root, tmp_path / "x.tar.gz", prefix="../outside/")
    assert not open_files(archive, everything, scratch).paths
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "scratch", "x.tar.gz"]


def test_names_need_not_suit_the_disk(tmp_path, scratch):
    names = ["n" * 300 + ".wav", "a.wav", "a.wav/b.wav", "d/" * 2500 + "1.wav", "caf\udce9.wav", "a\nb/\x1b[2J.wav"]
    archive = tar(tmp_path / "x.tar", *((name, str(index).encode()) for index, name in enumerate(names)))
    assert contents(open_files(archive, is_wav, scratch)) == {name: b"%d" % index for index, name in enumerate(names)}


def test_of_two_members_of_one_name_the_later_counts(tmp_path, scratch):
    archive = tar(tmp_path / "x.tar", ("a.wav", b"old"), ("a.wav", b"new"))
    assert contents(open_files(archive, is_wav, scratch)) == {"a.wav": b"new"}


def test_links_and_devices_in_a_tar(tmp_path, scratch):
    members = {
        "a.wav": b"one",
        "hard.wav": {"type": tarfile.LNKTYPE, "linkname": "a.wav"},
        "soft.wav": {"type": tarfile.SYMTYPE, "linkname": "a.wav"},
        "out.wav": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        "fifo.wav": {"type": tarfile.FIFOTYPE},
        "folder.wav": {"type": tarfile.DIRTYPE},
    }
    files = open_files(tar(tmp_path / "x.tar", *members.items()), is_wav, scratch)
    assert contents(files) == {"a.wav": b"one", "hard.wav": b"one"}
    assert sorted(files.left_out) == ["fifo.wav", "out.wav", "soft.wav"]


@pytest.mark.parametrize("damage", ["not a tar", "cut", "flipped", "a later header"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_damaged_archive_is_one_clear_line(root, tmp_path, scratch, kind, damage):
    (root / "a" / "big.wav").write_bytes(os.urandom(100_000))
    if kind == "tar":
        archive = pack(root, tmp_path / "x.tar.gz")
        content = bytearray(archive.read_bytes())
        if damage == "a later header":
            content = bytearray(gzip.decompress(content))
            content[content.index(b"./b.txt")] ^= 1
    else:
        archive = tmp_path / "x.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(root.glob("a/*.wav")):
                file.write(path, path.name)
        content = bytearray(archive.read_bytes())
        if damage == "a later header":
            content[content.rindex(b"PK\1\2")] ^= 1
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    archive.write_bytes((b"PK" if kind == "zip" else b"") + b"hello" * 100 if damage == "not a tar" else content)
    wanted = rf"data\.archive: .*x\.\S+ is no intact {kind} archive \(.+\); fetch"
    with pytest.raises(UserError, match=wanted) as caught:
        open_files(archive, everything, scratch)
    assert str(caught.value).isprintable()


def test_a_tar_without_an_end_is_told(tmp_path, scratch):
    archive = tar(tmp_path / "x.tar", ("a.wav", b"one"))
    assert open_files(archive, is_wav, scratch).remarks == []
    archive.write_bytes(archive.read_bytes()[:1024])
    files = open_files(archive, is_wav, scratch)
    assert contents(files) == {"a.wav": b"one"}
    assert files.remarks == [f"{archive} has no mark at its end: it may be cut"]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"\x28\xb5\x2f\xfd", "packed with zstd"),
        (b"RIFF\0\0\0\0WAVE", "an audio file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com", "a Git LFS pointer"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, scratch, start, kind):
    (tmp_path / "x").write_bytes(start + bytes(2000))
    with pytest.raises(UserError, match=rf"x is {kind}.*; give a folder, or an archive such as \.tar\.gz or \.zip"):
        open_files(tmp_path / "x", everything, scratch)


def test_an_encrypted_zip_is_named(tmp_path, scratch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.wav", b"one")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read \(a\.wav is encrypted\); unpack it, and give the folder"):
        open_files(tmp_path / "x.zip", is_wav, scratch)


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(UserError, match=r"x\.tar is neither a folder nor a file"):
        content_key(tmp_path / "x.tar", everything)


def sparse(path):
    """A tar of 1.5 kB whose member claims 6 GB, nearly all of them a hole (old GNU format)."""
    header = bytearray(tarfile.TarInfo("a.wav").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"%011o\0" % 512  # bytes stored
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"%011o\0%011o\0" % (6 * 10**9 - 512, 512)  # where they lie, and how many
    header[483:495] = (6 * 10**9).to_bytes(12, "big")
    header[483] = 0x80
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(512) + bytes(1024))


def gzip_bomb(path):
    with gzip.open(path, "wb", 1) as file:
        info = tarfile.TarInfo("readme.txt")  # nobody wants it
        info.size = 200 * 2**20
        file.write(info.tobuf())
        for _ in range(200):
            file.write(bytes(2**20))


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.wav", "w") as member:
        for _ in range(100):
            member.write(bytes(2**20))


def terabyte(path):
    info = tarfile.TarInfo("a.wav")
    info.size = 10**12
    path.write_bytes(info.tobuf() + b"RIFF" * 1000)


def endless_header(path):
    info = tarfile.TarInfo("././@PaxHeader")
    info.size, info.type = 10**10, tarfile.XHDTYPE
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf())
        for _ in range(30):
            file.write(bytes(2**20))


def headers_in_headers(path):
    info = tarfile.TarInfo("././@LongLink")
    info.size, info.type = 512, tarfile.GNUTYPE_LONGNAME
    path.write_bytes((info.tobuf() + bytes(512)) * 2000)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (sparse, "unpacks to more than 67 MB"),
        (gzip_bomb, "unpacks to more than"),
        (zip_bomb, "unpacks to more than"),
        (terabyte, "no intact tar archive"),
        (endless_header, "no intact tar archive"),
        (headers_in_headers, "no intact tar archive"),
    ],
)
def test_bombs_are_refused_with_bounded_work(tmp_path, scratch, make, reason):
    make(tmp_path / "x")
    start = time.monotonic()
    with pytest.raises(UserError, match=reason):
        open_files(tmp_path / "x", is_wav, scratch)
    assert sum(path.stat().st_size for path in scratch.iterdir()) < 1.7e8
    assert time.monotonic() - start < 10  # about 0.3 s alone; the bombs themselves would take minutes


def test_mutated_archives_are_read_or_refused():
    outcomes, failures, longest = fuzz(100)
    assert not failures
    assert longest < 5  # 0.1 s alone
    assert any(name.startswith("refused") for name in outcomes) and "4 clips" in outcomes


def test_fingerprint_of_an_archive_follows_its_content(root, tmp_path):
    first, second = pack(root, tmp_path / "1.tar.gz"), tmp_path / "2.tar.gz"
    (root / "b.txt").write_bytes(b"TEXT")
    pack(root, second)
    os.utime(second, ns=(0, first.stat().st_mtime_ns))
    assert content_key(first, everything) != content_key(second, everything)
    assert content_key(first, everything) == content_key(first, everything)


def test_fingerprint_of_a_folder_follows_wanted_files_only(root):
    before = content_key(root, is_wav)
    (root / "b.txt").write_bytes(b"other text")
    assert content_key(root, is_wav) == before
    (root / "a/1.wav").write_bytes(b"longer than before")
    assert content_key(root, is_wav) != before
