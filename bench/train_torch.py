#!/usr/bin/env python3
"""The other side of compare.sh: torch on the CPU trains a GPT-2 of 124 million parameters (random weights and tokens,
full AdamW steps with clipping). Prints one JSON line. Needs torch 2.13 and transformers 4.57."""
import argparse
import json
import statistics
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=["fp32", "autocast", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=256)
    return parser.parse_args()


def make_model(mode):
    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    config._attn_implementation = "sdpa"
    model = GPT2LMHeadModel(config).train()
    return model.bfloat16() if mode == "bf16" else model


def step(run, model, optimizer, options):
    """Seconds of one step, and of its optimizer."""
    ids = torch.randint(0, 50257, (options.batch, options.seq))
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=options.mode == "autocast"):
        loss = run(input_ids=ids, labels=ids).loss
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    update = time.perf_counter()
    optimizer.step()
    end = time.perf_counter()
    return end - start, end - update


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = make_model(options.mode)
    run = torch.compile(model) if options.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    times = [step(run, model, optimizer, options) for _ in range(options.steps + 1)][1:]  # the first one compiles
    steps, updates = [whole for whole, _ in times], [update for _, update in times]
    tokens = options.batch * options.seq
    print(json.dumps({
        "torch": torch.__version__,
        "mode": options.mode,
        "compile": options.compile,
        "tokens_per_second_best": tokens / min(steps),
        "tokens_per_second_median": tokens / statistics.median(steps),
        "update_seconds_best": min(updates),
        "update_seconds_median": statistics.median(updates),
    }))


if __name__ == "__main__":
    main()
