#!/usr/bin/env bash
# A model from nothing in a few minutes: trains a tokenizer and a GPT-2 of 11 million parameters on Shakespeare, with
# parameters, gradients and optimizer on the drive and far less memory than they need, and lets it write.
#
#   tools/demo.sh [PROGRAM]        everything it makes is in demo/; running it again starts anew
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/release/bin/aleph}
readonly kText=examples/data/tinyshakespeare.txt kSteps=${DEMO_STEPS:-440}

# Model states are 18 bytes a parameter in bf16: 198 MiB. A quarter of them may be in memory, twice.
readonly kMemory=48M

say() { printf '\n== %s\n' "$*"; }

mkdir -p demo/swap
say "tokenizer: 2,048 tokens from $kText"
"$program" tokenizer train "$kText" --vocab-size 2048 --output demo/tokenizer

say "model: GPT-2, 6 layers of width 384, random weights; states on the drive, $kMemory of device and host memory each"
cat >demo/config.json <<'JSON'
{
  "model_type": "gpt2", "vocab_size": 2048, "n_positions": 256, "n_embd": 384, "n_layer": 6, "n_head": 6,
  "bos_token_id": 0, "eos_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0
}
JSON
"$program" train --init demo/config.json --tokenizer demo/tokenizer --data "$kText" --eval-split 0.05 --eval-steps 110 \
  --seq-len 128 --batch-size 8 --steps "$kSteps" --lr 6e-4 --lr-schedule cosine --warmup 20 --adam-betas 0.9 0.99 \
  --weight-decay 0.1 --grad-clip 0 --dtype bf16 --offload-param nvme --offload-optimizer nvme --nvme-path demo/swap \
  --device-memory $kMemory --host-memory $kMemory --logging-steps 100 --log-file demo/log.jsonl \
  --output-dir demo/model --overwrite

say "the model in demo/model writes"
for prompt in "ROMEO:" "First Citizen:"; do
  printf "%s" "$prompt"
  "$program" generate --quiet --model demo/model --prompt "$prompt" --max-tokens 80 --temperature 0.8 --top-k 50 --seed 1
  echo
done

nats=$(sed -n 's/.*"eval_nats_per_byte": \([0-9.]*\).*/\1/p' demo/model/training_run.json)
say "held-out text: $nats nats per byte; the model is a Hugging Face directory: $(ls demo/model | tr '\n' ' ')"
