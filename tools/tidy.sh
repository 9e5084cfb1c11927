#!/usr/bin/env bash
# Runs clang-tidy on the C++ files that changed since a commit (default: where this branch left origin/main, on main
# itself the last commit), at most 20 of them so that the time is bounded.
#
#   tools/tidy.sh [BASE | FILE...]
#
# Needs build/release configured (compile_commands.json).
set -u
cd "$(dirname "$0")/.." || exit 1
readonly kMaxFiles=20

base_commit() {
  local head main
  head=$(git rev-parse HEAD)
  main=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || echo "$head")
  if [ "$main" != "$head" ]; then
    echo "$main"
  else
    git rev-parse --verify -q HEAD~1 || git hash-object -t tree /dev/null  # a first commit changes everything
  fi
}

# The .cc files to look at: those changed, and those beside a changed header.
changed_sources() {
  git diff --name-only --diff-filter=d "$1" -- '*.h' '*.cc' |
    while read -r file; do
      case $file in
        *.cc) echo "$file" ;;
        *) [ ! -f "${file%.h}.cc" ] || echo "${file%.h}.cc" ;;
      esac
    done | sort -u
}

if [ $# -gt 0 ] && [ -f "$1" ]; then
  files=("$@")
else
  mapfile -t files < <(changed_sources "${1:-$(base_commit)}")
fi
# Generated or left-out files have no compile command.
commands=build/release/compile_commands.json
[ -f "$commands" ] || { echo "tidy: no $commands: run make first" >&2; exit 1; }
known=()
for file in "${files[@]}"; do
  grep -qF "/$file\"" "$commands" && known+=("$file")
done
if [ ${#known[@]} -gt $kMaxFiles ]; then
  echo "tidy: ${#known[@]} files changed, looking at the first $kMaxFiles"
  known=("${known[@]:0:$kMaxFiles}")
fi
[ ${#known[@]} -gt 0 ] || { echo "tidy: no file to look at"; exit 0; }

# g++'s omp.h lies among headers that clang must not see, and has an attribute that clang 14 cannot read.
headers=$PWD/build/tidy-include
mkdir -p "$headers"
sed 's/__malloc__ (omp_free)/__malloc__/g' "$(g++ -print-file-name=include/omp.h)" >"$headers/omp.h"
export headers

tidy() {
  local output
  output=$(clang-tidy-14 --quiet -p build/release "--extra-arg=-isystem$headers" \
    --extra-arg=-Wno-unknown-warning-option "$1" 2>&1)
  local status=$?
  echo "tidy: $1"
  [ $status -eq 0 ] || grep -v 'generated\.$\|^Error while processing' <<<"$output"
  return $status
}
export -f tidy

printf '%s\n' "${known[@]}" | xargs -P "$(nproc)" -I{} bash -c 'tidy {}' || exit 1
echo "tidy: ${#known[@]} files clean"
