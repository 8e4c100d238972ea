"""tlstools.py - certificates for tests, made with openssl(1), and contexts for clients."""
import pathlib
import ssl
import subprocess


def openssl(*args, stdin=None):
    r = subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True)
    if r.returncode:
        raise RuntimeError(f"openssl {' '.join(map(str, args))}: {r.stderr.decode()}")
    return r.stdout


KEYS = {"rsa": ("RSA", "rsa_keygen_bits:2048"), "rsa1024": ("RSA", "rsa_keygen_bits:1024"), "ecdsa": ("EC", "ec_paramgen_curve:P-256"),
        "p384": ("EC", "ec_paramgen_curve:P-384"), "ed25519": ("ED25519", None)}


class Authority:
    """Makes certificates in a directory."""

    def __init__(self, dir, name="Test CA"):
        self.dir = pathlib.Path(dir)
        self.dir.mkdir(exist_ok=True)
        self.cert, self.key, self.serial = self.dir / f"{name.replace(' ', '-')}.pem", self.dir / f"{name.replace(' ', '-')}.key", 100
        self.new_key("ecdsa", self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-days", 30, "-subj", f"/CN={name}", "-out", self.cert)

    def new_key(self, kind, path):
        algorithm, option = KEYS[kind]
        openssl("genpkey", "-algorithm", algorithm, *(["-pkeyopt", option] if option else []), "-out", path)
        path.chmod(0o600)

    def issue(self, file, kind, *names, email=None, key=None, days=20, extensions=""):
        """FILE.pem with the chain and FILE.key; gives both, with a comma, as the setting wants them."""
        chain, own = self.dir / f"{file}.pem", key or self.dir / f"{file}.key"
        if not key:
            self.new_key(kind, own)
        request = openssl("req", "-new", "-key", own, "-subj", f"/CN={names[0]}")
        alternatives = ",".join([f"DNS:{n}" for n in names] + ([f"email:{email}"] if email else []))
        self.serial += 1
        ext = self.dir / "ext"
        ext.write_text(f"subjectAltName={alternatives}\n{extensions}")
        cert = openssl("x509", "-req", "-CA", self.cert, "-CAkey", self.key, "-set_serial", self.serial, "-days", days, "-extfile", ext, stdin=request)
        new = self.dir / f"{file}.new"
        new.write_bytes(cert + self.cert.read_bytes())
        new.rename(chain)
        return f"{chain},{own}"


def trusting(**options):
    """A context for a client that believes everything."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    for k, v in options.items():
        setattr(c, k, v)
    return c


def verifying(authority):
    c = ssl.create_default_context(cafile=str(authority.cert))
    return c


def subject_names(der):
    text = openssl("x509", "-inform", "DER", "-noout", "-ext", "subjectAltName", stdin=der).decode()
    return sorted(w.strip().removeprefix("DNS:") for w in text.split("\n")[1].split(",")) if "DNS:" in text else []


def public_key(der):
    return openssl("x509", "-inform", "DER", "-noout", "-pubkey", stdin=der)


def key_type(der):
    text = openssl("x509", "-inform", "DER", "-noout", "-text", stdin=der).decode()
    return "rsa" if "rsaEncryption" in text else "ed25519" if "ED25519" in text else "ecdsa"
