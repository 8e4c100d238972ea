"""disk.py - an ext4 with a journal for a while: what an installed Debian has, whatever lies beneath this machine."""
import contextlib
import os
import subprocess
import tempfile


def sh(*argv, **kw):
    return subprocess.run([str(a) for a in argv], check=True, **kw)


@contextlib.contextmanager
def ext4(gib=4, where="/var/tmp", inodes=None, written=True):
    """Mounts a fresh file system in a file, on a loop device with direct I/O; gives its directory; takes it all away. Not written:
    the blocks beneath come as they are needed, for a large one in which little is synced."""
    top = tempfile.mkdtemp(prefix="postern-bench.", dir=where)
    image, mnt = os.path.join(top, "image"), os.path.join(top, "fs")
    os.mkdir(mnt)
    loop = None
    try:
        # Written out: the blocks are there, and no sync pays for allocating them.
        if written:
            sh("dd", "if=/dev/zero", "of=" + image, "bs=1M", f"count={gib * 1024}", "conv=fsync", "status=none")
        else:
            sh("truncate", "-s", f"{gib}G", image)
        sh("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", *(["-N", inodes] if inodes else []), image)
        loop = sh("losetup", "-f", "--show", "--direct-io=on", image, stdout=subprocess.PIPE, text=True).stdout.strip()
        sh("mount", loop, mnt)
        yield mnt
    finally:
        if os.path.ismount(mnt):
            subprocess.run(["umount", mnt])
        if loop:
            subprocess.run(["losetup", "-d", loop])
        subprocess.run(["rm", "-rf", "--one-file-system", top])
