# Makes out/series: our patches and new files as mails that 'git am' applies
# to an OVS tree, one mail a patch, and applies them to see that they do.
#
# With a git repository as argument, to what is checked out there.  All but
# NEWS is for git's three-way merge; each release has its own top of NEWS.

import os
import re
import shutil
import sys

from dev.common.children import capture, child_env
from dev.common.command import Progress, Stop, main
from dev.common.files import OUT, ROOT, lock, out, read
from dev.ovs import tree

IDENTITY = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_COMMITTER_NAME": "series", "GIT_COMMITTER_EMAIL": "series@",
            # Nothing in the background: the repositories are thrown away.
            "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "maintenance.auto",
            "GIT_CONFIG_VALUE_0": "false", "GIT_CONFIG_KEY_1": "gc.auto",
            "GIT_CONFIG_VALUE_1": "0"}


def git(where, *args, text=None, env=None):
    status, output = capture(["git"] + list(args), cwd=where, text=text,
                             env=child_env(**IDENTITY, **(env or {})))
    if status:
        raise Stop("git %s failed:\n%s" % (args[0], output.strip()))
    return output


def start_repository(where):
    shutil.rmtree(where, ignore_errors=True)
    tree.unpack(where)
    git(where, "init", "-q", "-b", "main")
    git(where, "add", "-A", "-f", ".")
    git(where, "commit", "-q", "-m", "OVS as packaged.", env={
        "GIT_AUTHOR_NAME": "base", "GIT_AUTHOR_EMAIL": "base@"})


def added_lines(name):
    """What a patch adds, that it takes out elsewhere left aside."""
    return "\n".join(line[1:]
                     for line in read(tree.patch_path(name)).splitlines()
                     if line.startswith("+") and not line.startswith("+++"))


def mentions(text, word):
    return re.search(r"(?<![\w./-])%s(?![\w-])" % re.escape(word), text)


def share_out(names):
    """Which new files go with which patch: with the first that names them,
    by path or as an include, else with the first that takes one which does (a
    header with the source file that needs it, a source file with the list of
    what is compiled); what none names goes with the last."""
    files = {name: [] for name in names}
    left = tree.own_files()
    for name in names:
        text = added_lines(name)
        while True:
            taken = [f for f in left
                     if mentions(text, f)
                     or mentions(text, os.path.basename(f))]
            if not taken:
                break
            files[name] += taken
            left = [f for f in left if f not in taken]
            text = "\n".join(line for f in taken
                             for line in read(os.path.join(ROOT, f))
                             .splitlines()
                             if f.endswith(".mk") or
                             line.startswith(("#include", "m4_include")))
    files[names[-1]] += left
    return files


def first_with(names, pattern):
    for name in names:
        if re.search(pattern, read(tree.patch_path(name))):
            return name
    return names[-1]


def commit(where, name, files, with_acinclude, with_news):
    """One patch and what goes with it, as a commit with the patch's own
    author, date and message."""
    mail = read(tree.patch_path(name))
    # Outside of the tree, so that they do not get into it.
    message, diff = out(".series-message"), out(".series-diff")
    info = dict(line.split(": ", 1) for line in
                git(where, "mailinfo", message, diff, text=mail).splitlines()
                if ": " in line)
    if "Subject" not in info or "Email" not in info:
        raise Stop("patches/%s has no From: or no Subject: line; write it "
                   "as git format-patch does." % name)
    # As 'make src' does it: with little context, a hook can fit in two places,
    # and git takes another one than patch does.
    tree.apply_patch(where, name)
    for f in files:
        tree.add_own_file(where, f)
    if with_acinclude:
        tree.add_acinclude(where)
    if with_news:
        tree.add_news(where)
    git(where, "add", "-A", "-f", ".")
    git(where, "commit", "-q", "-F", "-",
        text=info["Subject"] + "\n\n" + read(message), env={
            "GIT_AUTHOR_NAME": info["Author"],
            "GIT_AUTHOR_EMAIL": info["Email"],
            "GIT_AUTHOR_DATE": info.get("Date", ""),
            "GIT_COMMITTER_DATE": info.get("Date", "")})
    os.unlink(message)
    os.unlink(diff)


def apply_onto(where, mails):
    """Applies the mails in a clone of a repository."""
    status, text = capture(["git", "am", "-q", "--3way"] + mails, cwd=where,
                           env=child_env(**IDENTITY))
    if status:
        unmerged = git(where, "diff", "--name-only",
                       "--diff-filter=U").split()
        if unmerged != ["NEWS"]:
            raise Stop("the series does not apply there%s:\n%s" % (
                ", because of " + ", ".join(unmerged) if unmerged else "",
                text.strip()))
        git(where, "checkout", "-q", "HEAD", "--", "NEWS")
        tree.add_news(where)
        git(where, "add", "NEWS")
        git(where, "-c", "core.editor=true", "am", "-q", "--continue")


def move_onto(repository, dest):
    """Makes the mails in 'dest' be for what is checked out in a
    repository."""
    mails = [os.path.join(dest, mail) for mail in sorted(os.listdir(dest))]
    work = out(".series-onto")
    shutil.rmtree(work, ignore_errors=True)
    git(ROOT, "clone", "-q", "--shared", os.path.realpath(repository), work)
    begin = git(work, "rev-parse", "HEAD").strip()
    apply_onto(work, mails)
    shutil.rmtree(dest)
    git(work, "format-patch", "-q", "-o", dest, "--no-signature",
        "--zero-commit", begin)
    want = git(work, "rev-parse", "HEAD^{tree}")
    git(work, "checkout", "-q", begin)
    git(work, "am", "-q", *(os.path.join(dest, mail)
                            for mail in sorted(os.listdir(dest))))
    if git(work, "rev-parse", "HEAD^{tree}") != want:
        raise Stop("out/series applies there, but to another tree.")
    shutil.rmtree(work)


def make_series(onto=None):
    names = tree.series()
    if not names:
        raise Stop("patches/series names no patch, there is nothing to send.")
    work, again, dest = out(".series-work"), out(".series-am"), out("series")
    with lock("series"):
        progress = Progress("out/series: %d mails" % len(names))
        start_repository(work)
        files = share_out(names)
        macros = re.findall(r"AC_DEFUN\(\[(\w+)\]",
                            read(os.path.join(ROOT, "acinclude.m4")))
        acinclude_with = first_with(names,
                                    "|".join(macros) or r"configure\.ac")
        news_with = first_with(names, r"\.rst\b")
        for name in names:
            commit(work, name, files[name], name == acinclude_with,
                   name == news_with)
            progress.step(name)
        shutil.rmtree(dest + ".new", ignore_errors=True)
        git(work, "format-patch", "-q", "-o", dest + ".new", "--no-signature",
            "--zero-commit", "HEAD~%d" % len(names))

        start_repository(again)
        mails = sorted(os.listdir(dest + ".new"))
        git(again, "am", "-q",
            *(os.path.join(dest + ".new", m) for m in mails))
        want, got = (git(r, "rev-parse", "HEAD^{tree}") for r in (work, again))
        if want != got:
            raise Stop("out/series applies, but to another tree than ours:\n"
                       + git(again, "diff", "--stat", want.strip(), "HEAD"))
        # And ours is what 'make src' builds.
        tree.assemble(again + ".want")
        for name in tree.tree_files(again + ".want"):
            if not tree.same(os.path.join(again + ".want", name),
                             os.path.join(again, name)):
                raise Stop("%s comes out otherwise by out/series than by "
                           "'make src'." % name)
        shutil.rmtree(again + ".want")

        if onto:
            move_onto(onto, dest + ".new")
        shutil.rmtree(dest, ignore_errors=True)
        os.rename(dest + ".new", dest)
        shutil.copy(os.path.join(ROOT, "patches/cover-letter"), dest)
        progress.done("%d mails; git am applies them to %s"
                      % (len(mails), onto or "the OVS of the package"))
        shutil.rmtree(work)
        shutil.rmtree(again)
    for mail in mails:
        print("  out/series/" + mail)


def run_command():
    os.makedirs(OUT, exist_ok=True)
    make_series(*sys.argv[1:2])


if __name__ == "__main__":
    main(run_command)
