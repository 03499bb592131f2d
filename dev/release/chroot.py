# Runs a target of the Makefile on another release of Debian than this machine
# has, in a chroot.  python3 -m dev.release.chroot
#   RELEASE TARGET
#   RELEASE clean     throws the chroot and its builds away
#   clean             throws all of out/ away
# The chroot, out/chroot/RELEASE, is made by mmdebstrap of packages from where
# this machine has its own.  The repository is mounted into it, with
# out/RELEASE as its out/, in a mount namespace that ends with the command:
# outside of it there is no mount, whatever happens.

import os
import re
import shlex
import signal
import subprocess
import sys

from dev.common.children import capture, child_env, python, run
from dev.common.command import Progress, Stop, main, program
from dev.common.files import OUT, ROOT, lock, out, read, tail, write
from dev.release import apt, debian

DEPS = ["sh", os.path.join(ROOT, "dev/release/deps.sh")]
NAMESPACE = ["unshare", "--mount", "--propagation", "private", "--"]

# /dev for hugepages and /dev/shm, /run for what the lab notes there, so that a
# run outside of the chroot can put right what a killed one left.
SHARED = ("/proc", "/sys", "/dev", "/run")

# How names of hosts are found.
NETWORK = ("/etc/resolv.conf", "/etc/hosts")

# Packages that are installed later do not start a service either.
NO_SERVICES = "#!/bin/sh\nexit 101\n"


def chroot_path(wanted):
    return out("chroot", wanted.name)


def remove(path):
    """Removes what is there, but never through a mount.  Those of a run in a
    chroot are not seen here; somebody may have made others.  (That rm stays on
    a file system is not enough: the repository is on the same.)"""
    for line in read("/proc/self/mountinfo").splitlines():
        # Its fifth word is where; blanks in it are written \040.
        mounted = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)),
                         line.split()[4])
        if (mounted + "/").startswith(os.path.realpath(path) + "/"):
            raise Stop("%s is a mount, and what is there must not be removed: "
                       "run 'umount %s', then this again."
                       % (mounted, mounted))
    if os.path.lexists(path):
        status, text = capture(["rm", "-rf", "--one-file-system", path])
        if status:
            raise Stop("cannot remove %s: %s" % (path, text.strip()))


# Making it.

def bootstrap(path, wanted, packages):
    """Makes the chroot 'path' of that release with these packages and what
    they need.  There is nothing there before, nor if it fails."""
    if subprocess.call(DEPS + ["mmdebstrap"], cwd=ROOT):
        raise Stop("RELEASE=%s needs mmdebstrap, which makes a chroot of that "
                   "release." % wanted.name)
    lines, keys = apt.sources(wanted)
    log = path + ".log"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    command = NAMESPACE + [
        "mmdebstrap", "--verbose", "--mode=root", "--variant=apt",
        "--include=" + ",".join(packages),
        "--aptopt=APT::Install-Recommends \"false\""]
    command += ["--aptopt=" + option for option in apt.options()]
    command += ["--keyring=" + key for key in keys]
    # apt in the chroot is to know them, too.
    command += ["--customize-hook=copy-in %s /etc/apt/trusted.gpg.d"
                % shlex.quote(key) for key in keys
                if "debian-archive-" not in os.path.basename(key)]
    command += [wanted.name, path] + lines
    progress = Progress("%s: packages from %s" % (os.path.relpath(path, ROOT),
                                                  lines[0].split()[1]))

    def on_line(line):
        m = re.match(r"(?:I: |Get:\d+ \S+ \S+ \S+ (?=\S+)|Setting up |"
                     r"Unpacking )(.*)", line)
        if m:
            progress.step(m[1].split(" (")[0].split(" [")[0])

    try:
        status = run(command, log, on_line)
    except BaseException:
        remove(path)
        raise
    if status:
        progress.done("failed")
        remove(path)
        raise Stop("mmdebstrap could not make a chroot of %s, see %s; its end "
                   "is:\n%s" % (wanted.name, log, tail(log, 12)))
    progress.done()


def make(wanted):
    """Has the chroot, made of packages if it is not there yet."""
    path = chroot_path(wanted)
    if os.path.isdir(path):
        return
    fresh = path + ".new"
    remove(fresh)
    _, packages = capture(DEPS + ["--list"])
    bootstrap(fresh, wanted, packages.split() + ["ca-certificates"])
    write(os.path.join(fresh, "usr/sbin/policy-rc.d"), NO_SERVICES)
    os.chmod(os.path.join(fresh, "usr/sbin/policy-rc.d"), 0o755)
    os.rename(fresh, path)


# Being in it.

def variables():
    """Those that make was given on its command line, but for RELEASE."""
    _, _, given = (" " + os.environ.get("MAKEFLAGS", "")).partition(" -- ")
    words = (re.sub(r"\\(.)", r"\1", word).replace("$$", "$")
             for word in re.findall(r"(?:\\.|\S)+", given))
    return [word for word in words if not word.startswith("RELEASE=")]


def mount(*args):
    status, text = capture(["mount", *args])
    if status:
        raise Stop("mount %s: %s" % (" ".join(args), text.strip()))


def make_file(path):
    """Makes an empty file of what may be a link that leads out of the
    chroot."""
    if os.path.islink(path):
        os.unlink(path)
    open(path, "a").close()


def enter(wanted, target):
    """In a mount namespace of our own: becomes make in the chroot."""
    path, builds = chroot_path(wanted), out(wanted.name)
    os.makedirs(builds, exist_ok=True)
    # What 'ip netns exec' does to the mount at / needs one.
    mount("--bind", path, path)
    for place in SHARED:
        mount("--rbind", place, path + place)
    for name in NETWORK:
        if os.path.isfile(name):
            make_file(path + name)
            mount("--bind", os.path.realpath(name), path + name)
    os.makedirs(path + ROOT, exist_ok=True)
    mount("--bind", ROOT, path + ROOT)
    mount("--bind", builds, path + OUT)
    # Packages name their release.
    for place in (out("deb"), path + out("deb")):
        os.makedirs(place, exist_ok=True)
    mount("--bind", out("deb"), path + out("deb"))
    os.chroot(path)
    os.chdir(ROOT)
    env = child_env()
    for name in ("RELEASE", "LANGUAGE", "TMPDIR"):
        env.pop(name, None)
    if "ENGINE" in os.environ:
        env["ENGINE"] = os.environ["ENGINE"]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe("make", ["make", "--no-print-directory", target] + variables(),
               env)


def clean(wanted):
    """'-deb' is the host of check-deb."""
    for path in [chroot_path(wanted) + end
                 for end in ("", ".new", ".new.log", "-deb", "-deb.log")] + [
            out(wanted.name), out("deb", wanted.name),
            out("deb", wanted.name + "-ring")]:
        remove(path)


def run_command():
    args = sys.argv[1:]
    if args == ["clean"]:
        return remove(OUT)
    inside = args[:1] == ["--inside"]
    if len(args) != 2 + inside:
        raise Stop("usage: %s RELEASE TARGET | clean" % program())
    wanted, target = debian.named(args[-2]), args[-1]
    if inside:
        enter(wanted, target)
    if os.geteuid():
        raise Stop("RELEASE=%s runs in a chroot, which needs root: use sudo, "
                   "or a machine that has that release." % wanted.name)
    if target == "clean":
        return clean(wanted)
    with lock("chroot"):
        make(wanted)
    print("%s, in a chroot: what is called out/ there is out/%s here"
          % (wanted.name, wanted.name), flush=True)
    os.chdir(ROOT)
    os.execvp(NAMESPACE[0],
              NAMESPACE + python("dev.release.chroot", "--inside", *args))


if __name__ == "__main__":
    main(run_command)
