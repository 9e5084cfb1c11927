#!/usr/bin/env python3
"""The other side of compare.sh: torch on the CPU trains a GPT-2 of 124 million parameters (random weights and tokens,
full AdamW steps with clipping), or only updates it. Prints one JSON line. Needs torch 2.13 and transformers 4.57."""
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
    parser.add_argument("--update", action="store_true", help="nothing but optimizer steps with random gradients")
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
    """Seconds of one step."""
    ids = torch.randint(0, 50257, (options.batch, options.seq))
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=options.mode == "autocast"):
        loss = run(input_ids=ids, labels=ids).loss
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return time.perf_counter() - start


def settled(run):
    """Seconds of a second run."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def train(model, optimizer, options):
    run = torch.compile(model) if options.compile else model
    # The first one compiles.
    steps = [step(run, model, optimizer, options) for _ in range(options.steps + 1)][1:]
    tokens = options.batch * options.seq
    return {"compile": options.compile,
            "tokens_per_second_best": tokens / min(steps),
            "tokens_per_second_median": tokens / statistics.median(steps)}


def update(model, optimizer, options):
    """Of parameters with random gradients, in turn with STREAM's triad: how fast memory is for this process."""
    count = 0
    for parameter in model.parameters():
        parameter.grad = 1e-3 * torch.randn_like(parameter)
        count += parameter.numel()
    a, b, c = (torch.zeros(8 << 20) for _ in range(3))
    updates, triads = [], []
    for _ in range(options.steps):
        updates.append(settled(optimizer.step))
        triads.append(settled(lambda: torch.add(b, c, alpha=3.0, out=a)))
    rate = 28 * count / statistics.median(updates)  # reads four numbers of each parameter, writes three
    triad = 3 * a.nbytes / statistics.median(triads)
    return {"update_seconds": statistics.median(updates), "update_triad_percent": 100 * rate / triad}


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = make_model(options.mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    measured = (update if options.update else train)(model, optimizer, options)
    print(json.dumps({"torch": torch.__version__, "mode": options.mode, **measured}))


if __name__ == "__main__":
    main()
