#!/usr/bin/env bash
# Ten fine-tuning steps of SmolLM2-135M on tinyshakespeare with parameters and optimizer on the drive and at most
# 300 MB of device and of host memory, against the losses of torch 2.13 (fp32): each within 1e-3.
#
#   bench/smollm2_finetune.sh MODEL REFERENCE [PROGRAM [FOLDER]]
#
# MODEL is the Hugging Face directory, REFERENCE a JSON file whose "fine_tune"."losses" are torch's losses for
# batches of 2 x 128 tokens in the order of the text, AdamW with lr 1e-4, no decay, norm clipped to 1.
set -eu
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$(realpath "$1") reference=$(realpath "$2")
cd "$(dirname "$0")/.."
program=$(realpath "${3:-build/release/bin/aleph}")
folder=${4:-build/smollm2_finetune}
trap 'rm -rf "$folder/swap" "$folder/model"' EXIT

mkdir -p "$folder/swap"
"$program" train --model "$model" --data examples/data/tinyshakespeare.txt --data-order sequential --seq-len 128 \
  --batch-size 2 --steps 10 --lr 1e-4 --lr-schedule constant --warmup 0 --adam-betas 0.9 0.999 --weight-decay 0 \
  --grad-clip 1.0 --dtype fp32 --offload-param nvme --offload-optimizer nvme --nvme-path "$folder/swap" \
  --device-memory 300000000 --host-memory 300000000 --output-dir "$folder/model" --overwrite \
  --log-file "$folder/log.jsonl" --logging-steps 1

paste <(sed -n 's/.*"step":\([0-9]*\),"loss":\([0-9.]*\).*/\1 \2/p' "$folder/log.jsonl") \
  <(tr -d ' \n' <"$reference" | grep -o '"fine_tune":{.*' | grep -o '"losses":\[[^]]*' | head -1 | cut -d'[' -f2 |
    tr ',' '\n') |
  awk '{
      difference = $2 > $3 ? $2 - $3 : $3 - $2
      if (difference > worst) worst = difference
      printf "step %2d  loss %.6f  torch %.6f  difference %.1e\n", $1, $2, $3, difference
    }
    END {
      good = NR == 10 && worst <= 1e-3
      printf "%s: largest difference %.1e over %d steps, at most 1e-3 over 10\n", good ? "ok" : "FAIL", worst, NR
      exit !good
    }'
