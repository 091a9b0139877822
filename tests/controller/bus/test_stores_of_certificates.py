"""Keystores and truststores as Java's programs have them, and logins as they are told them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from certificates import Certified, authority, write_truststore
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from instar_controller.clients.kafka import jaas, stores
from instar_controller.clients.kafka.jaas import Login


@pytest.fixture(scope="module")
def root() -> Certified:
    return authority("root")


@pytest.fixture(scope="module")
def us(root: Certified) -> Certified:
    return root.vouch("between", is_authority=True).vouch("us")


def names(pem: str) -> list[str]:
    return [one.subject.rfc4514_string() for one in load_pem_x509_certificates(pem.encode())]


def check(found: stores.Identity, us: Certified) -> None:
    assert names(found.certificates) == ["CN=us", "CN=between"]
    key = load_pem_private_key(found.key.encode(), None)
    assert key.public_key() == us.certificate.public_key()
    assert "PRIVATE" not in repr(found)


def test_a_keystore_is_read_in_either_form(us: Certified, tmp_path: Path) -> None:
    check(stores.identity(us.write_pkcs12(tmp_path / "a", password="pass"), "pass"), us)
    check(stores.identity(us.write_pem(tmp_path / "b"), ""), us)
    check(stores.identity(us.write_pem(tmp_path / "c", password="pass"), "store", "pass"), us)
    check(stores.identity(us.write_pem(tmp_path / "d", password="pass"), "pass"), us)


def test_a_truststore_is_read_in_either_form(root: Certified, us: Certified, tmp_path: Path) -> None:
    both = write_truststore(tmp_path / "a", root, us, password="pass")
    assert sorted(names(stores.authorities(both, "pass"))) == ["CN=root", "CN=us"]
    (tmp_path / "b").write_bytes(root.pem() + us.pem())
    assert names(stores.authorities(tmp_path / "b", "")) == ["CN=root", "CN=us", "CN=between"]
    assert names(stores.authorities(us.write_pkcs12(tmp_path / "c", password="p"), "p"))[0] == "CN=us"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "neither PKCS #12 nor PEM"),
        (
            b"\xfe\xed\xfe\xed\x00",
            r"Java's own form.* keytool -importkeystore -srckeystore \S+/it -destkeystore \S+\.p12",
        ),
        (b"\xce\xce\xce\xce\x00", "Java's own form"),
        (b"\x30\x82", "it is no PKCS #12, or its password is another one"),
        (b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "a certificate in it cannot be read"),
        (b"-----BEGIN SOMETHING-----\n", "there is no certificate in it"),
        (b" " * (stores.MOST_BYTES + 1), "larger than 16 MB"),
    ],
)
def test_what_is_no_store_is_refused_with_a_way_out(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        stores.authorities(tmp_path / "it", "pass")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        stores.authorities(tmp_path / "none", "")
    with pytest.raises(ValueError, match="Is a directory"):
        stores.identity(tmp_path, "")


def test_a_wrong_password_is_told_and_not_shown(root: Certified, us: Certified, tmp_path: Path) -> None:
    for store in (us.write_pkcs12(tmp_path / "a", password="pass"), us.write_pem(tmp_path / "b", password="pass")):
        with pytest.raises(ValueError, match="password is another one") as caught:
            stores.identity(store, "wrong")
        assert "wrong" not in str(caught.value)
    with pytest.raises(ValueError, match="its key is encrypted, and no password is given"):
        stores.identity(tmp_path / "b", "")
    with pytest.raises(ValueError, match="password is another one"):
        stores.authorities(write_truststore(tmp_path / "c", root, password="pass"), "")


def test_a_keystore_needs_a_key_that_belongs_to_its_certificate(
    root: Certified, us: Certified, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(us.pem())
    with pytest.raises(ValueError, match="there is no key with its certificate in it"):
        stores.identity(tmp_path / "a", "")
    with pytest.raises(ValueError, match="there is no key with its certificate in it"):
        stores.identity(write_truststore(tmp_path / "b", root, password="pass"), "pass")
    (tmp_path / "c").write_bytes(root.key_pem() + us.pem())
    with pytest.raises(ValueError, match="its key does not belong to its first certificate"):
        stores.identity(tmp_path / "c", "")


@pytest.mark.system
def test_what_keytool_writes_is_read_and_its_conversion_is_as_told(
    root: Certified, us: Certified, tmp_path: Path
) -> None:
    if shutil.which("keytool") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no keytool; Debian has it in default-jre-headless")
        pytest.skip("there is no keytool; Debian has it in default-jre-headless")
    (tmp_path / "root.pem").write_bytes(root.pem())
    kept = us.write_pkcs12(tmp_path / "us.p12", password="password")
    trusting = f"-importcert -noprompt -alias root -file {tmp_path}/root.pem -storepass password -keystore {tmp_path}"
    keytool(f"{trusting}/trust.p12 -storetype PKCS12")
    assert names(stores.authorities(tmp_path / "trust.p12", "password")) == ["CN=root"]
    keytool(
        f"-importkeystore -srckeystore {kept} -srcstorepass password -destkeystore {tmp_path}/us.jks "
        "-deststoretype JKS -deststorepass password"
    )
    with pytest.raises(ValueError, match="name what comes out: keytool ") as caught:
        stores.identity(tmp_path / "us.jks", "password")
    (tmp_path / "us.p12").unlink()
    command = str(caught.value).partition("name what comes out: keytool ")[2]
    keytool(f"{command} -srcstorepass password -deststorepass password")
    check(stores.identity(tmp_path / "us.p12", "password"), us)


def keytool(options: str) -> None:
    done = subprocess.run(["keytool", *options.split()], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "login"),
    [
        (f'{jaas.PLAIN} required username="a" password="b";', Login(jaas.PLAIN, "a", "b")),
        (f"{jaas.PLAIN} required\n  username='a'\n  password=b ;\n", Login(jaas.PLAIN, "a", "b")),
        (rf'{jaas.SCRAM} REQUIRED password="\"=; \\" username="a b";', Login(jaas.SCRAM, "a b", '"=; \\')),
        (f'{jaas.SCRAM} required more="x" username="a" password="b";', Login(jaas.SCRAM, "a", "b")),
    ],
)
def test_a_line_of_jaas_is_a_login(line: str, login: Login) -> None:
    assert jaas.parse(line) == login
    assert "password" not in repr(login)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "does not end with a ';'"),
        (f'{jaas.PLAIN} required username="a" password="secret"', "does not end with a ';'"),
        (f'{jaas.PLAIN} username="a" password="secret";', "it is not one login module"),
        (f'{jaas.PLAIN} required username="a" password="secret;', "it is not one login module"),
        (f'{jaas.PLAIN} required username= password="secret";', "it is not one login module"),
        (f'{jaas.PLAIN} required username="a" password="secret"; other required;', "it is not one login module"),
        (f'{jaas.PLAIN} required username="a";', "it lacks the option password"),
        (f"{jaas.PLAIN} required;", "it lacks the option username and password"),
        (f'{jaas.PLAIN} required username="" password="secret";', "it lacks the option username"),
    ],
)
def test_a_line_that_is_no_login_is_refused_and_not_shown(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        jaas.parse(line)
    assert "secret" not in str(caught.value)
