#!/usr/bin/env bash
# Trains a model of 300 million parameters for three steps in bf16 while the operating system limits the memory of
# the whole process to 1.5 GB: model states of 5 GB live on the drive. Exit status 0: trained within the limit.
#
#   bench/fit_under_limit.sh [PROGRAM [FOLDER]]      FOLDER on the drive, 8 GB free; default build/fit_under_limit
#
# As root the limit is a memory cgroup (v2 or v1): everything counts, page cache included. Otherwise it is
# prlimit --as: address space, which also counts mapped libraries and files, so the limit is the stricter one.
set -eu
cd "$(dirname "$0")/.."
program=$(realpath "${1:-build/release/bin/aleph}")
folder=${2:-build/fit_under_limit}
readonly kLimit=1500000000
group=

cleanup() {
  [ -z "$group" ] || rmdir "$group" 2>/dev/null || :
  rm -rf "$folder/swap" "$folder/model"
}
trap cleanup EXIT

write_config() {
  cat >"$folder/config.json" <<'JSON'
{
  "model_type": "gpt2", "vocab_size": 512, "n_positions": 256, "n_embd": 1024, "n_layer": 24, "n_head": 16,
  "bos_token_id": 272, "eos_token_id": 272, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0
}
JSON
}

# A memory cgroup of our own with the limit, or nothing.
make_group() {
  [ "$(id -u)" = 0 ] || return 0
  local root=/sys/fs/cgroup file=memory.max
  [ -d $root/memory ] && root=$root/memory file=memory.limit_in_bytes
  mkdir "$root/aleph-fit.$$" 2>/dev/null || return 0
  group=$root/aleph-fit.$$
  echo $kLimit >"$group/$file" 2>/dev/null || { rmdir "$group"; group=; }
}

limited() {
  if [ -n "$group" ]; then
    (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@")
  else
    prlimit --as=$kLimit "$@"
  fi
}

mkdir -p "$folder/swap"
write_config
make_group
echo "limit: $kLimit bytes by ${group:-prlimit --as}"
limited "$program" train --init "$folder/config.json" --tokenizer tests/data/tiny-tokenizer \
  --data examples/data/tinyshakespeare.txt --seq-len 256 --batch-size 2 --steps 3 --lr 1e-5 --dtype bf16 \
  --output-dir "$folder/model" --overwrite --offload-param nvme --offload-optimizer nvme \
  --nvme-path "$folder/swap" --device-memory 700M --host-memory 400M --logging-steps 1 --profile
for file in memory.peak memory.max_usage_in_bytes; do
  [ -z "$group" ] || [ ! -r "$group/$file" ] || echo "largest use of the group: $(cat "$group/$file") bytes"
done
echo "trained within the limit; $(stat -c %s "$folder"/model/model.safetensors) bytes of weights"
