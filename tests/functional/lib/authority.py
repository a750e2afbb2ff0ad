# SPDX-License-Identifier: Apache-2.0
"""Certificates for functional tests, signed with openssl's command line.

    ca = authority.Authority(folder, "ca")
    cert, key = ca.sign("m1", "/CN=m1")          # files below the folder
    with_client = authority.context(ca.cert, (cert, key))
    authority.replace(path, cert)                # in one step, as one should

Standard library only; mp.need("openssl") is the test's own.
"""

import os
import shutil
import ssl
import subprocess


class Authority:
    """A CA that signs what it is asked for."""

    def __init__(self, folder, name):
        self.folder, self.name, self.n = folder, name, 0
        self.key, self.cert = self.path(name + ".key"), self.path(name + ".pem")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", "/CN=" + name)

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def sign(self, name, subject, usage="clientAuth,serverAuth", days="2"):
        """(certificate, key), files.  Serial numbers count from 1."""
        key, request, cert, extra = (self.path(name + end) for end in (".key", ".csr", ".pem", ".ext"))
        self.n += 1
        with open(extra, "w") as out:
            out.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=%s\n" % usage)
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                     key, "-out", request, "-subj", subject)
        self.openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key,
                     "-set_serial", str(self.n), "-days", days, "-extfile", extra, "-out", cert)
        return cert, key


def context(ca, cert=None):
    """A client's; cert: (certificate, key)."""
    out = ssl.create_default_context(cafile=ca)
    if cert:
        out.load_cert_chain(*cert)
    return out


def replace(path, by):
    shutil.copy(by, path + ".new")
    os.rename(path + ".new", path)
