#!/usr/bin/env bash
# Sees to it that what Aleph needs from the system is there. On Debian and as root it installs what is missing;
# otherwise it prints what is missing and the command that installs it.
#
#   tools/setup.sh [build|test|check]
#
#   build   what the program needs, and optional parts that make it better
#   test    also what the tests need (the default)
#   check   also what .ci/run needs: formatter, linter, compiler cache
#
# Exit status 1 only when something required is missing at the end. Asks nothing. Does nothing when all is there.
set -u
cd "$(dirname "$0")/.." || exit 1

# group  package              where it is seen: a command, or a header
readonly kPackages='
build    g++                  command:g++
build    make                 command:make
build    cmake                command:cmake
build    ninja-build          command:ninja
build    pkg-config           command:pkg-config
build    libdnnl-dev          header:dnnl.hpp
build    libfmt-dev           header:fmt/core.h
build    nlohmann-json3-dev   header:nlohmann/json.hpp
build    libpcre2-dev         header:pcre2.h
build    libicu-dev           header:unicode/uchar.h
test     libgtest-dev         header:gtest/gtest.h
test     libgmock-dev         header:gmock/gmock.h
check    git                  command:git
check    python3              command:python3
check    ccache               command:ccache
check    clang-format-14      command:clang-format-14
check    clang-tidy-14        command:clang-tidy-14
optional liburing-dev         header:liburing.h
'

# Where headers are looked for: below CMAKE_PREFIX_PATH as well, since CMake looks there too.
include_dirs() {
  local prefixes=${CMAKE_PREFIX_PATH:-}
  # shellcheck disable=SC2086  # a list of folders
  printf '%s\n' ${ALEPH_SYSTEM_INCLUDE:-/usr/include /usr/local/include /usr/include/*-linux-gnu}
  [ -z "$prefixes" ] || printf '%s\n' "${prefixes//[:;]//include
}/include"
}

is_there() {
  local kind=${1%%:*} name=${1#*:} dir
  if [ "$kind" = command ]; then
    command -v "$name" >/dev/null 2>&1
    return
  fi
  for dir in "${dirs[@]}"; do
    [ -e "$dir/$name" ] && return 0
  done
  return 1
}

# missing GROUP...: the packages of these groups that are not there, one a line.
missing() {
  local group package probe
  while read -r group package probe; do
    [ -n "$group" ] && [[ " $* " == *" $group "* ]] && ! is_there "$probe" && echo "$package"
  done <<<"$kPackages"
  return 0
}

# Debian's package lists, fetched once, and once again after a short pause if the network hiccups.
update_lists() {
  apt-get -q update </dev/null || { sleep 3; apt-get -q update </dev/null; }
}

install_packages() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$@" </dev/null
}

wanted=${1:-test}
case $wanted in
  build) groups=(build) ;;
  test) groups=(build test) ;;
  check) groups=(build test check) ;;
  *) echo "setup: unknown part '$wanted': build, test or check" >&2; exit 2 ;;
esac
mapfile -t dirs < <(include_dirs)
mapfile -t required < <(missing "${groups[@]}")
mapfile -t optional < <(missing optional)

# An optional part that could not be installed once is not tried at every build.
readonly kTried=build/setup-tried
if [ ${#optional[@]} -gt 0 ] && [ ${#required[@]} -eq 0 ] && [ "$(cat $kTried 2>/dev/null)" = "${optional[*]}" ]; then
  exit 0
fi
[ $((${#required[@]} + ${#optional[@]})) -eq 0 ] && exit 0

readonly kCommand="apt-get install -y --no-install-recommends"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup: installing ${required[*]} ${optional[*]}" >&2
  { update_lists && install_packages "${required[@]}" "${optional[@]}"; } >&2 ||
    { [ ${#required[@]} -gt 0 ] && install_packages "${required[@]}" >&2; }
else
  [ ${#required[@]} -eq 0 ] || {
    echo "setup: required and not found: ${required[*]}"
    echo "setup: on Debian or Ubuntu, as root:  apt-get update && $kCommand ${required[*]} ${optional[*]}"
  } >&2
fi

mapfile -t required < <(missing "${groups[@]}")
mapfile -t optional < <(missing optional)
if [ ${#optional[@]} -gt 0 ]; then
  echo "setup: going on without the optional ${optional[*]}" >&2
  mkdir -p build && echo "${optional[*]}" >$kTried
fi
if [ ${#required[@]} -gt 0 ]; then
  echo "setup: still missing: ${required[*]}" >&2
  exit 1
fi
