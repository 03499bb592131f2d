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
from dev.release import debian

DEPS = ["sh", os.path.join(ROOT, "dev/release/deps.sh")]
NAMESPACE = ["unshare", "--mount", "--propagation", "private", "--"]

# /dev for hugepages and /dev/shm, /run for what the lab notes there, so that a
# run outside of the chroot can put right what a killed one left.
SHARED = ("/proc", "/sys", "/dev", "/run")

# Packages that are installed later do not start a service either.
NO_SERVICES = "#!/bin/sh\nexit 101\n"

# What of apt's settings has to do with how it gets at the repositories.
APT_OPTION = re.compile(r"(Acquire::(?:https?|Retries|Check-|ForceIPv[46]"
                        r"|Queue-Mode)\S*) (\".*\");")


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


# Where this machine's packages come from.

def stanzas():
    """The repositories of binary packages that apt has, each as a
    dictionary of lists: uris, suites, components, keys."""
    where = dict(re.findall(r"^(\w+)='(.*)'$", capture(
        ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS",
         "Dir::Etc::sourceparts/d"])[1], re.M))
    paths = [where.get("LIST", "")]
    parts = where.get("PARTS", "")
    if os.path.isdir(parts):
        paths += [os.path.join(parts, name)
                  for name in sorted(os.listdir(parts))]
    for path in paths:
        if path.endswith(".list"):
            yield from one_line_stanzas(read(path))
        elif path.endswith(".sources"):
            yield from deb822_stanzas(read(path))


def one_line_stanzas(text):
    for options, uri, suite, components in re.findall(
            r"^\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)([^#\n]*)", text,
            re.M):
        yield {"uris": [uri], "suites": [suite],
               "components": components.split(),
               "keys": re.findall(r"signed-by=(\S+)", options)}


def deb822_stanzas(text):
    text = re.sub(r"^#.*\n", "", text, flags=re.M)
    for stanza in re.split(r"\n\s*\n", text):
        fields = {key.lower(): value.split() for key, value in re.findall(
            r"^([\w-]+):((?:.*\n?)(?:[ \t].*\n?)*)", stanza, re.M)}
        if ("deb" in fields.get("types", ())
                and fields.get("enabled") not in (["no"], ["false"])):
            yield {"uris": fields.get("uris", []),
                   "suites": fields.get("suites", []),
                   "components": fields.get("components", []),
                   "keys": [key for key in fields.get("signed-by", ())
                            if key.startswith("/")]}


def sources(wanted):
    """Lines for apt on another release: this machine's repositories of Debian
    with that release in place of its own.  And the keys that sign them."""
    found = debian.os_release()
    own = {found.get("VERSION_CODENAME", ""), "sid", "unstable", "testing",
           "stable", "oldstable"} - {""}
    lines, keys = [], []
    for stanza in stanzas():
        if "main" not in stanza["components"]:
            continue
        for suite in stanza["suites"]:
            base, _, kind = suite.partition("-")
            # sid is one suite.
            if (base not in own or kind not in ("", "updates", "security")
                    or kind and wanted.version == "-"):
                continue
            for uri in stanza["uris"]:
                line = "deb %s %s main" % (uri, "-".join(
                    filter(None, (wanted.name, kind))))
                if line not in lines:
                    lines.append(line)
            keys += [key for key in stanza["keys"] if key not in keys]
    if not lines:
        raise Stop("RELEASE=%s: apt on this machine has no repository of "
                   "Debian to take its packages from; add one, 'deb URI %s "
                   "main' for instance, to /etc/apt/sources.list.d."
                   % (wanted.name, found.get("VERSION_CODENAME", "stable")))
    return lines, keys


def apt_options():
    return ["%s %s" % m for m in APT_OPTION.findall(
        capture(["apt-config", "dump"])[1])]


# Making it.

def make(wanted):
    """Has the chroot, made of packages if it is not there yet."""
    path = chroot_path(wanted)
    if os.path.isdir(path):
        return
    if subprocess.call(DEPS + ["mmdebstrap"], cwd=ROOT):
        raise Stop("RELEASE=%s needs mmdebstrap, which makes a chroot of that "
                   "release." % wanted.name)
    lines, keys = sources(wanted)
    fresh, log = path + ".new", path + ".log"
    remove(fresh)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _, packages = capture(DEPS + ["--list"])
    packages = packages.split() + ["ca-certificates"]
    command = NAMESPACE + [
        "mmdebstrap", "--verbose", "--mode=root", "--variant=apt",
        "--include=" + ",".join(packages),
        "--aptopt=APT::Install-Recommends \"false\""]
    command += ["--aptopt=" + option for option in apt_options()]
    command += ["--keyring=" + key for key in keys]
    # apt in the chroot is to know them, too.
    command += ["--customize-hook=copy-in %s /etc/apt/trusted.gpg.d"
                % shlex.quote(key) for key in keys
                if "debian-archive-" not in os.path.basename(key)]
    command += [wanted.name, fresh] + lines
    progress = Progress("out/chroot/%s: packages from %s"
                        % (wanted.name, lines[0].split()[1]))

    def on_line(line):
        m = re.match(r"(?:I: |Get:\d+ \S+ \S+ \S+ (?=\S+)|Setting up |"
                     r"Unpacking )(.*)", line)
        if m:
            progress.step(m[1].split(" (")[0].split(" [")[0])

    try:
        status = run(command, log, on_line)
    except BaseException:
        remove(fresh)
        raise
    if status:
        progress.done("failed")
        remove(fresh)
        raise Stop("mmdebstrap could not make a chroot of %s, see %s; its end "
                   "is:\n%s" % (wanted.name, log, tail(log, 12)))
    write(os.path.join(fresh, "usr/sbin/policy-rc.d"), NO_SERVICES)
    os.chmod(os.path.join(fresh, "usr/sbin/policy-rc.d"), 0o755)
    os.rename(fresh, path)
    progress.done()


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


def enter(wanted, target):
    """In a mount namespace of our own: becomes make in the chroot."""
    path, builds = chroot_path(wanted), out(wanted.name)
    os.makedirs(builds, exist_ok=True)
    # What 'ip netns exec' does to the mount at / needs one.
    mount("--bind", path, path)
    for place in SHARED:
        mount("--rbind", place, path + place)
    for name in ("/etc/resolv.conf", "/etc/hosts"):
        if os.path.isfile(name):
            if os.path.islink(path + name):
                # It would lead out of the chroot.
                os.unlink(path + name)
            open(path + name, "a").close()
            mount("--bind", os.path.realpath(name), path + name)
    os.makedirs(path + ROOT, exist_ok=True)
    mount("--bind", ROOT, path + ROOT)
    mount("--bind", builds, path + OUT)
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
    for path in (chroot_path(wanted), chroot_path(wanted) + ".new",
                 chroot_path(wanted) + ".log", out(wanted.name)):
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
