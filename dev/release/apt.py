# Where this machine, or chroot, has its packages from, and the source packages
# from there.  apt's own configuration and lists stay as they are.

import os
import re

from dev.common.children import capture, run
from dev.common.command import Stop
from dev.common.files import read, write
from dev.release import debian

# What of apt's settings has to do with how it gets at the repositories.
APT_OPTION = re.compile(r"(Acquire::(?:https?|Retries|Check-|ForceIPv[46]"
                        r"|Queue-Mode)\S*) (\".*\");")


def apt_config(what):
    status, text = capture(["apt-config", "shell", "V", what])
    m = re.search(r"^V='(.*)'$", text, re.M)
    return m[1] if not status and m else ""


def options():
    return ["%s %s" % m for m in APT_OPTION.findall(
        capture(["apt-config", "dump"])[1])]


def source_files():
    """The files that name apt's repositories."""
    paths = [apt_config("Dir::Etc::sourcelist/f")]
    parts = apt_config("Dir::Etc::sourceparts/d")
    if os.path.isdir(parts):
        paths += [os.path.join(parts, name)
                  for name in sorted(os.listdir(parts))]
    return paths


# The repositories, for another release.

def stanzas():
    """The repositories of binary packages that apt has, each as a
    dictionary of lists: uris, suites, components, keys."""
    for path in source_files():
        if path.endswith(".list"):
            yield from one_line_stanzas(read(path))
        elif path.endswith(".sources"):
            yield from deb822_stanzas(read(path))


def one_line_stanzas(text):
    for words, uri, suite, components in re.findall(
            r"^\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)([^#\n]*)", text,
            re.M):
        yield {"uris": [uri], "suites": [suite],
               "components": components.split(),
               "keys": re.findall(r"signed-by=(\S+)", words)}


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
    """Lines for apt on a release: this machine's repositories of Debian with
    that release in place of its own.  And the keys that sign them."""
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


# Source packages.

def source_of(binary):
    """The name and version of the source of an installed package."""
    status, text = capture(["dpkg-query", "-W", "-f",
                            "${db:Status-Status} ${source:Package} "
                            "${source:Version}", binary])
    words = text.split()
    if status or len(words) != 3 or words[0] != "installed":
        raise Stop("the package %s is not installed: run 'make deps'."
                   % binary)
    return words[1:]


def repositories(binary):
    """The URIs that the installed package can come from, as far as apt's
    lists tell."""
    _, version = capture(["dpkg-query", "-W", "-f", "${Version}", binary])
    _, text = capture(["apt-cache", "madison", binary])
    rows = [line.split("|") for line in text.splitlines()
            if line.count("|") == 2]
    return {row[2].split()[0].rstrip("/") for row in rows
            if row[1].strip() == version and row[2].strip()}


def entries(types, uris):
    """apt's own configuration with 'types', as "deb-src", in place of deb: the
    texts of a sources.list and of a .sources file.  With 'uris', only of those
    repositories."""
    def wanted(text):
        return not uris or any(uri in text for uri in uris)

    lines, texts = [], []
    for path in source_files():
        if path.endswith(".list"):
            for line in read(path).splitlines():
                m = re.match(r"\s*deb(?:-src)?\s+(.*)", line)
                if m and wanted(line):
                    lines += [kind + " " + m[1] for kind in types.split()
                              if kind + " " + m[1] not in lines]
        elif path.endswith(".sources"):
            for stanza in re.split(r"\n\s*\n", read(path)):
                if (re.search(r"^Types:", stanza, re.M | re.I)
                        and wanted(stanza)):
                    texts.append(re.sub(r"(?im)^Types:.*$",
                                        "Types: " + types, stanza.strip()))
    return "\n".join(lines), "\n\n".join(texts)


class PrivateApt:
    """apt with source packages, in a directory of its own.  'binary' is an
    installed package, of the repositories that it can come from; 'types' as in
    a .sources file."""

    def __init__(self, where, binary, types="deb-src"):
        found = entries(types, repositories(binary))
        if not any(found):
            found = entries(types, ())
        if not any(found):
            raise Stop("apt on this machine has no package repository to take "
                       "the source of %s from: add one to "
                       "/etc/apt/sources.list.d." % binary)
        for name in ("lists/partial", "cache/archives/partial", "parts"):
            os.makedirs(os.path.join(where, name))
        write(os.path.join(where, "sources.list"), found[0] + "\n")
        write(os.path.join(where, "parts/our.sources"), found[1] + "\n")
        self.config = os.path.join(where, "apt.conf")
        write(self.config, "\n".join('%s "%s";' % option for option in (
            ("Dir::State::Lists", os.path.join(where, "lists")),
            ("Dir::State::status", apt_config("Dir::State::status/f")),
            ("Dir::Cache", os.path.join(where, "cache")),
            ("Dir::Etc::sourcelist", os.path.join(where, "sources.list")),
            ("Dir::Etc::sourceparts", os.path.join(where, "parts")),
            # apt's own user cannot write here.
            ("APT::Sandbox::User", "root"),
            ("Acquire::Languages", "none"),
            ("Acquire::Retries", "2"))) + "\n")

    def get(self, args, log, on_line, cwd=None):
        """Runs apt-get, whose output goes behind what is in 'log'.  Returns
        its status."""
        return run(["apt-get", "-q", "-y", "-c", self.config] + args, log,
                   on_line, cwd=cwd, append=True)

    def cache(self, *args):
        return capture(["apt-cache", "-c", self.config, *args])[1]

    def download(self, package, version, where, log, on_line, flags=()):
        """Downloads the source package of that version into 'where'.  Returns
        whether it is there."""
        # A repository without sources, or out of reach, is no reason to give
        # up: what counts is whether the package is there.
        self.get(["update"], log, on_line)
        return not self.get(["source", "--only-source", "--download-only",
                             *flags, "%s=%s" % (package, version)], log,
                            on_line, cwd=where)


def unpack(where, tree, log, on_line):
    """Unpacks the source package that was downloaded into 'where' as 'tree'.
    Returns whether that worked."""
    names = [name for name in os.listdir(where) if name.endswith(".dsc")]
    # apt has verified what it fetched.
    return not run(["dpkg-source", "--no-check", "-x"] + names + [tree], log,
                   on_line, cwd=where, append=True)
