"""Runs both sides of compare.sh in turn and prints their ratios."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
        "bos_token_id": 50256, "eos_token_id": 50256, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
# Of a token, forward and backward: products of the layers and the head, and of attention to 256 tokens without mask.
GFLOP_A_TOKEN = 6 * (12 * (12 * 768 ** 2 + 2 * 256 * 768) + 50257 * 768) / 1e9
TORCH = {"bf16": ["--mode", "autocast", "--compile"], "fp32": ["--mode", "fp32", "--compile"]}
PLACEMENTS = ["recompute", "nvme"]
CASES = [*TORCH, "update", *PLACEMENTS]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--json")
    return parser.parse_args()


def run(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def ceilings(threads, folder):
    """Of matrix products, memory and disk, from the benchmarks of kernels and io."""
    found = {}
    for program, flags in (("kernels_bench", ["--filter", "nothing"]), ("io_bench", ["--filter", "depth 8"])):
        path = os.path.join(folder, program + ".json")
        run([f"build/release/bin/{program}", "--threads", str(threads), "--json", path] + flags)
        with open(path) as file:
            found[program] = json.load(file)
    kernels = {key: value for key, value in found["kernels_bench"].items() if key.endswith("_ceiling")}
    disk = {result["case"]: result["gb_per_s"] for result in found["io_bench"]["results"]}
    return {**kernels, **disk}


def aleph(dtype, options, folder, flags=()):
    config, log = os.path.join(folder, "config.json"), os.path.join(folder, "log.jsonl")
    with open(config, "w") as file:
        json.dump(GPT2, file)
    if os.path.exists(log):
        os.remove(log)
    run(["build/release/bin/aleph", "train", "--init", config, "--tokenizer", "tests/data/tiny-tokenizer", "--data",
         "examples/data/tinyshakespeare.txt", "--seq-len", "256", "--batch-size", "4", "--steps",
         str(options.steps + 1), "--lr", "1e-4", "--dtype", dtype, "--threads", str(options.threads), *flags, "--log-file",
         log, "--output-dir", os.path.join(folder, "model"), "--overwrite", "--quiet"])
    with open(log) as file:
        records = [json.loads(line) for line in file][1:]
    rates = [record["tokens_per_second"] for record in records]
    stalls = sum(sum(record["io"]["stall_seconds"].values()) for record in records)
    return {"tokens_per_second_best": max(rates), "tokens_per_second_median": statistics.median(rates),
            "stall_share": stalls / sum(record["step_seconds"] for record in records)}


def print_pair(name, ours, theirs):
    sides = [(ours[key], theirs[key], ours[key] / theirs[key])
             for key in ("tokens_per_second_best", "tokens_per_second_median")]
    cells = [f"{best:.{digits}f} / {median:.{digits}f}" for best, median, digits in zip(*sides, (0, 0, 2))]
    print(f"{name:<26}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def print_share(ours, ceiling):
    """Of the ceiling of matrix products that the best step reaches with everything it does."""
    rate = ours["tokens_per_second_best"] * GFLOP_A_TOKEN
    print(f"{'  of matrix products':<26}{rate:>9.0f} GFLOP/s{100 * rate / ceiling:>13.0f} %", flush=True)


def torch(flags, options):
    lines = run([sys.executable, "bench/train_torch.py", "--threads", str(options.threads)] + flags)
    return json.loads(lines.strip().splitlines()[-1])


def update(options, folder):
    """The fused update of 124 million parameters in fp32: its time, and its rate against a triad's in turn with it."""
    path = os.path.join(folder, "update.json")
    run(["build/release/bin/kernels_bench", "--threads", str(options.threads), "--filter", "adam_update fp32 124M",
         "--seconds", "1", "--json", path])
    with open(path) as file:
        result = json.load(file)["results"][0]
    return {"update_seconds": result["median_seconds"], "update_triad_percent": result["gb_per_s_percent"]}


def placement(name, options, folder):
    """Tokens per second in bf16 with everything in memory, and then with a part of it elsewhere."""
    if name == "recompute":
        return aleph("bf16", options, folder), aleph("bf16", options, folder, ["--recompute", "on"])
    swap = os.path.join(folder, "swap")
    os.makedirs(swap, exist_ok=True)
    accumulate = ["--grad-accumulation", "16"]
    few = argparse.Namespace(**{**vars(options), "steps": max(2, options.steps // 2)})
    return aleph("bf16", few, folder, accumulate), aleph("bf16", few, folder, [
        *accumulate, "--offload-param", "nvme", "--offload-optimizer", "nvme", "--nvme-path", swap])


def head(left, right):
    print(f"\n{'tokens/s, best / median':<26}{left:>16}{right:>16}{'ratio':>16}", flush=True)


def against_torch(cases, options, folder, results):
    if cases:
        head("aleph", "torch")
    for dtype in cases:
        for pair in range(options.pairs):
            ours = aleph(dtype, options, folder)
            theirs = torch(["--steps", str(options.steps)] + TORCH[dtype], options)
            results["torch"].append({"case": dtype, "aleph": ours, "torch": theirs})
            print_pair(f"{dtype} {pair + 1}", ours, theirs)
            print_share(ours, results["ceilings"][f"{dtype}_gflops_ceiling"])


def print_updates(name, ours, theirs):
    cells = [f"{1e3 * side['update_seconds']:.1f} / {side['update_triad_percent']:.0f} %" for side in (ours, theirs)]
    ratios = (theirs["update_seconds"] / ours["update_seconds"],
              ours["update_triad_percent"] / theirs["update_triad_percent"])
    cells.append(" / ".join(f"{ratio:.2f}" for ratio in ratios))
    print(f"{name:<26}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def updates(options, folder, results):
    """Memory may be twice as fast for one process as for the next one: beside the times stand the rates against a triad
    in turn in the same process, each side's own, and the median of several."""
    print(f"\n{'update, ms / of a triad':<26}{'aleph':>16}{'torch':>16}{'ratio':>16}", flush=True)
    for pair in range(2 * options.pairs):
        sides = {"aleph": update(options, folder), "torch": torch(["--steps", "10", "--update"], options)}
        results["update"].append(sides)
        print_updates(f"update {pair + 1}", *sides.values())
    print_updates("  median", *({key: statistics.median(pair[side][key] for pair in results["update"])
                                 for key in ("update_seconds", "update_triad_percent")}
                                for side in ("aleph", "torch")))


def against_memory(cases, options, folder, results):
    if cases:
        head("placement", "in memory")
    for name in cases:
        for pair in range(options.pairs):
            memory, placed = placement(name, options, folder)
            results["placements"].append({"case": name, "placement": placed, "memory": memory})
            print_pair(f"{name} {pair + 1}", placed, memory)
            if name == "nvme":
                print(f"{'  stalled':<26}{100 * placed['stall_share']:>14.1f} %")


def main():
    options = arguments()
    results = {"torch": [], "update": [], "placements": []}
    with tempfile.TemporaryDirectory(dir="build") as folder:
        results["ceilings"] = ceilings(options.threads, folder)
        for name, value in results["ceilings"].items():
            print(f"{name:<24}{value:>8.1f}")
        against_torch([case for case in options.cases if case in TORCH], options, folder, results)
        if "update" in options.cases:
            updates(options, folder, results)
        against_memory([case for case in options.cases if case in PLACEMENTS], options, folder, results)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
