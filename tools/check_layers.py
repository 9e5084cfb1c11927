#!/usr/bin/env python3
"""Checks that includes follow the folder order of Aleph's design. One line per violation; exit status 1 if any.

    tools/check_layers.py [ROOT]
"""
import pathlib
import re
import sys

# An #include may only go to the folder itself or to folders before it.
FOLDERS = ("base io tensor kernels comm autograd nn optim checkpoint zero compress text models train infer serve "
           "cli").split()

# Stricter than the order: kernels are pure functions on views.
ONLY = {"kernels": {"base", "tensor", "kernels"}}

# (what the header is called, folders that may include it, what the others do instead)
VENDORS = [
    (r"nlohmann/(?!json_fwd\.hpp)", {"base"}, "use aleph/base/json.h"),
    (r"spdlog/", {"base"}, "use aleph/base/log.h"),
    (r"omp\.h$", {"base"}, "use aleph/base/parallel.h"),
    (r"liburing", {"io"}, "use aleph/io"),
    (r"(oneapi/)?dnnl", {"kernels"}, "use aleph/kernels"),
    (r"(cublas|cudnn|cub/|cutlass/)", {"kernels"}, "use aleph/kernels"),
    (r"cuda", {"tensor", "kernels"}, "use aleph/tensor"),
    (r"(mpi|nccl)\.h$", {"comm"}, "use aleph/comm"),
    (r"(pcre2|unicode/|sentencepiece)", {"text"}, "use aleph/text"),
    (r"httplib", {"serve"}, "use aleph/serve"),
    (r"(gtest|gmock)/", {"test"}, "only tests include it"),
]

# Folders outside aleph/ that may see all of it. They get vendors through it, as everyone else.
OUTSIDE = ("tests", "fuzz", "bench", "examples")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
# `omp simd` is a hint to the compiler; everything else in OpenMP starts or joins threads.
OPENMP = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+omp[ \t]+(?!simd\b|declare[ \t]+simd\b)", re.M)


def sources(root):
    """All C++ and CUDA files as (path, text), in a fixed order."""
    for top in ("aleph",) + OUTSIDE:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh", ".in") and path.is_file():
                yield path.relative_to(root), path.read_text(encoding="utf-8", errors="replace")


def folder_of(path):
    """'kernels' for aleph/kernels/x.h, 'tests' for tests/x.cc."""
    return path.parts[1] if path.parts[0] == "aleph" and len(path.parts) > 2 else path.parts[0]


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def vendor_violation(path, folder, header):
    roles = {folder}
    if path.stem.endswith(("_test", "testing")) or folder == "tests":
        roles.add("test")
    for pattern, allowed, instead in VENDORS:
        if re.match(pattern, header) and not roles & allowed:
            return f"<{header}> belongs to {', '.join(sorted(allowed))}: {instead}"
    return None


def project_violation(root, folder, header):
    target = pathlib.PurePosixPath(header)
    if folder in OUTSIDE and target.parts[0] == folder:
        return None if (root / header).is_file() else f'"{header}": no such file'
    if target.parts[0] != "aleph" or len(target.parts) < 3:
        return f'"{header}": include by full path, "aleph/FOLDER/..."'
    to = target.parts[1]
    if to not in FOLDERS:
        return f'"{header}": {to} is not in the list of folders'
    if not (root / header).is_file() and not (root / (header + ".in")).is_file():
        return f'"{header}": no such file'
    if folder in OUTSIDE:
        return None
    if FOLDERS.index(to) > FOLDERS.index(folder):
        return f'"{header}": {folder} may not include {to}, which comes after it'
    if to not in ONLY.get(folder, set(FOLDERS)):
        return f'"{header}": {folder} may include only {", ".join(sorted(ONLY[folder]))}'
    return None


def include_violation(root, path, folder, quote, header):
    if quote == '"' or header.startswith("aleph/"):
        return project_violation(root, folder, header)
    return vendor_violation(path, folder, header)


def cycle(edges):
    """A list of folders that include each other in a ring, first = last, or None."""
    done, trail = set(), []

    def visit(node):
        if node in trail:
            return trail[trail.index(node):] + [node]
        if node in done:
            return None
        trail.append(node)
        for neighbour in sorted(edges.get(node, ())):
            found = visit(neighbour)
            if found:
                return found
        trail.pop()
        done.add(node)
        return None

    return next((ring for ring in map(visit, sorted(edges)) if ring), None)


def check_file(root, path, text, edges):
    folder = folder_of(path)
    if path.parts[0] == "aleph" and folder not in FOLDERS:
        yield f"{path}:1: {folder} is not in the list of folders"
        return
    for match in INCLUDE.finditer(text):
        quote, header = match.groups()
        found = include_violation(root, path, folder, quote, header)
        if found:
            yield f"{path}:{line_of(text, match.start(1))}: {found}"
        if header.startswith("aleph/") and header.count("/") > 1 and header.split("/")[1] != folder:
            edges.setdefault(folder, set()).add(header.split("/")[1])
    if folder != "base":
        for match in OPENMP.finditer(text):
            yield f"{path}:{line_of(text, match.start())}: OpenMP belongs to base: use aleph/base/parallel.h"


def check(root):
    """All violations below `root`, one line each."""
    found, edges = [], {}
    for path, text in sources(root):
        found += check_file(root, path, text, edges)
    ring = cycle(edges)
    if ring:
        found.append("aleph: folders include each other: " + " -> ".join(ring))
    return found


def main(arguments):
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parent.parent
    violations = check(root)
    for line in violations:
        print(line)
    count = sum(1 for _ in sources(root))
    print(f"check_layers: {count} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
