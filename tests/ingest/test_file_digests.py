"""Digests are compared with those that lie in folders of earlier versions: what they are made of never changes."""

import hashlib

from ingest.file_digests import add_file, file_sha256, named_files_sha256


def test_a_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    assert file_sha256(tmp_path / "a").hexdigest() == hashlib.sha256(b"one").hexdigest()


def test_a_digest_goes_on_over_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    digest = hashlib.blake2b(b"before ", digest_size=16)
    add_file(digest, tmp_path / "a")
    assert digest.hexdigest() == hashlib.blake2b(b"before one", digest_size=16).hexdigest()


def test_named_files_count_by_name_and_digest(tmp_path):
    files = [(name, tmp_path / name) for name in ("a", "b")]
    for name, path in files:
        path.write_bytes(name.encode() * 3)
    parts = b"start", b"a", hashlib.sha256(b"aaa").digest(), b"b", hashlib.sha256(b"bbb").digest()
    assert named_files_sha256("start", files) == hashlib.sha256(b"".join(parts)).hexdigest()
