"""Everything about the files below a directory that an image can determine, one line each."""
import hashlib, os, stat, sys

top = os.fsencode(sys.argv[1])
first = {}


def content(path, st):
    if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
        if st.st_ino in first:
            return "same as " + first[st.st_ino]
        first[st.st_ino] = show(path)
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # a file with holes takes fewer blocks than its size
        return f"{st.st_size} {digest}" + (" sparse" if st.st_blocks * 512 < st.st_size else "")
    if stat.S_ISLNK(st.st_mode):
        return "-> " + os.readlink(path).decode("latin1")
    return "" if stat.S_ISDIR(st.st_mode) else f"device {st.st_rdev}"


def show(path):
    return "/" + os.path.relpath(path, top).decode("latin1").replace("\n", "\\n")


def visit(path):
    st = os.lstat(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = ",".join(f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()}" for name in names)
    print("\t".join((show(path), f"{st.st_mode:o}", f"{st.st_uid}:{st.st_gid}", str(st.st_mtime_ns), xattrs, content(path, st))))
    if stat.S_ISDIR(st.st_mode):
        for name in sorted(os.listdir(path)):
            visit(os.path.join(path, name))


sys.stdout.reconfigure(encoding="utf8")
visit(top)
